// Command dvrsvc records streams and keeps their archive.
package main

import (
	"os"

	"github.com/twinreel/twinreel/dvrsvc/app"
	"github.com/twinreel/twinreel/pkg/service"
)

func main() { os.Exit(service.Main(app.Spec())) }
