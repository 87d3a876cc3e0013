// Command ingestsvc receives live MPEG-TS and brings it to dvrsvc as chunks and segments.
package main

import (
	"os"

	"github.com/twinreel/twinreel/ingestsvc/app"
	"github.com/twinreel/twinreel/pkg/service"
)

func main() { os.Exit(service.Main(app.Spec())) }
