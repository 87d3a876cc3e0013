// Command ingestsvc receives live MPEG-TS and brings it to dvrsvc as chunks and segments.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/twinreel/twinreel/ingestsvc/app"
	"github.com/twinreel/twinreel/pkg/lifecycle"
)

func main() {
	ctx, stop := lifecycle.Signals(context.Background())
	defer stop()
	if err := app.Main(ctx, os.Environ(), os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "ingestsvc:", err)
		os.Exit(1) //nolint:gocritic // the process ends
	}
}
