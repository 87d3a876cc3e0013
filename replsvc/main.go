// Command replsvc replicates streams and archives between sites.
package main

import (
	"os"

	"github.com/twinreel/twinreel/pkg/service"
	"github.com/twinreel/twinreel/replsvc/app"
)

func main() { os.Exit(service.Main(app.Spec())) }
