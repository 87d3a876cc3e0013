package server

import (
	"fmt"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

type maintenance struct {
	*Server
	dvrv1.UnimplementedMaintenanceServiceServer
}

// Verify implements MaintenanceServiceServer.
func (x maintenance) Verify(m *dvrv1.VerifyRequest, rpc grpc.ServerStreamingServer[dvrv1.VerifyResponse]) error {
	a, err := x.archive(m.GetStream())
	if err != nil {
		return err
	}
	var bad uint64
	var sent error
	total, err := a.Verify(rpc.Context(), func(b store.BadCopy) {
		bad++
		if e := rpc.Send(&dvrv1.VerifyResponse{Digest: b.Digest.String(), Problem: b.Problem.Error(), Bad: bad}); e != nil && sent == nil {
			sent = e
		}
	})
	if err != nil {
		return fmt.Errorf("verify %s: %w", m.GetStream(), err)
	}
	if sent != nil {
		return sent
	}
	return rpc.Send(&dvrv1.VerifyResponse{Copies: total.Copies, Bytes: total.Bytes, Bad: total.Bad})
}
