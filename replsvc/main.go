// Command replsvc replicates: it serves this site's streams to its peers over M4F, follows theirs, compares archives and
// fetches what is missing here. It keeps no media.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/twinreel/twinreel/pkg/lifecycle"
	"github.com/twinreel/twinreel/replsvc/app"
)

func main() {
	ctx, stop := lifecycle.Signals(context.Background())
	defer stop()
	if err := app.Main(ctx, os.Environ(), os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // the deferred stop has nothing left to do
	}
}
