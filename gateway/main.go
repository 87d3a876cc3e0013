// Command gateway serves the stream config to the other services, and the archive by HTTP.
package main

import (
	"os"

	"github.com/twinreel/twinreel/gateway/app"
	"github.com/twinreel/twinreel/pkg/service"
)

func main() { os.Exit(service.Main(app.Spec())) }
