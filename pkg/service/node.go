package service

import (
	"context"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/obs"
	nodev1 "github.com/twinreel/twinreel/proto/twinreel/node/v1"
)

// node is NodeService.
type node struct {
	nodev1.UnimplementedNodeServiceServer
	name    string
	apps    map[string]App // by name
	started time.Time
}

// RegisterNode puts NodeService on a server: it tells what services the process has.
func RegisterNode(r grpc.ServiceRegistrar, name string, apps map[string]App, clk clock.Clock) {
	nodev1.RegisterNodeServiceServer(r, &node{name: name, apps: apps, started: clk.Now()})
}

// ListServices implements NodeService.
func (n *node) ListServices(context.Context, *nodev1.ListServicesRequest) (*nodev1.ListServicesResponse, error) {
	m := &nodev1.ListServicesResponse{}
	for _, name := range slices.Sorted(maps.Keys(n.apps)) {
		s := &nodev1.Service{Name: name, Node: n.name, Version: obs.Version(), Started: timestamppb.New(n.started)}
		s.ConfigRevision, s.Problem = n.apps[name].Config()
		if err := n.apps[name].Ready(); err != nil {
			s.NotReady = err.Error()
		}
		m.Services = append(m.Services, s)
	}
	return m, nil
}
