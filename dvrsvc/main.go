// Command dvrsvc records streams and keeps their archive.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/twinreel/twinreel/dvrsvc/app"
	"github.com/twinreel/twinreel/pkg/lifecycle"
)

func main() {
	ctx, stop := lifecycle.Signals(context.Background())
	defer stop()
	if err := app.Main(ctx, os.Environ(), os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // the deferred stop has nothing left to do
	}
}
