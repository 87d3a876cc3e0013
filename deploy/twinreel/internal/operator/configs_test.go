package operator_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/operator"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/streamconfpb"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

// keeper is a ConfigService that keeps what it is told.
type keeper struct {
	gatewayv1.UnimplementedConfigServiceServer
	conf *streamconf.Config
	put  *gatewayv1.PutRequest
	del  *gatewayv1.DeleteRequest
}

func (k *keeper) List(context.Context, *gatewayv1.ListRequest) (*gatewayv1.ListResponse, error) {
	m := streamconfpb.ToProto(k.conf, k.conf.Revision())
	m.ClusterKey = k.conf.ClusterKey.String()
	return &gatewayv1.ListResponse{Config: m, Edited: []string{"news"}}, nil
}

func (k *keeper) Put(_ context.Context, r *gatewayv1.PutRequest) (*gatewayv1.PutResponse, error) {
	k.put = r
	if r.GetRevision() != k.conf.Revision() {
		return nil, rpcerr.ToStatus(fmt.Errorf("the request is for revision %s: %w", r.GetRevision(), errs.ErrConfigConflict))
	}
	st, err := streamconf.ParseStream([]byte(r.GetText()), k.conf.Storages)
	if err != nil {
		return nil, rpcerr.ToStatus(fmt.Errorf("%w: %w", errs.ErrConfigInvalid, err))
	}
	return &gatewayv1.PutResponse{Stream: streamconfpb.StreamToProto(st), Revision: "next"}, nil
}

func (k *keeper) Delete(_ context.Context, r *gatewayv1.DeleteRequest) (*gatewayv1.DeleteResponse, error) {
	k.del = r
	return &gatewayv1.DeleteResponse{Revision: "next"}, nil
}

func (k *keeper) ListChanges(_ context.Context, r *gatewayv1.ListChangesRequest) (*gatewayv1.ListChangesResponse, error) {
	return &gatewayv1.ListChangesResponse{Changes: []*gatewayv1.Change{
		{Number: 2, Origin: "api", Author: "ana", Comment: "test card", Changed: []string{"news"}, Revision: "b"},
		{Number: 1, Origin: "file", Added: []string{"news", "sport"}, Revision: "a"},
	}[:r.GetLimit()]}, nil
}

// What show prints, put takes back: with it goes what the author has seen.
func TestConfig(t *testing.T) {
	conf, err := streamconf.Parse("t", []byte(`cluster_key hunter2_hunter2_; dvr box { root /big; server box:7002; }
		stream news { input udp://239.0.0.1:1234; dvr @box 3d; } stream sport { input udp://239.0.0.2:1234; dvr d 1d; }`))
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{conf: conf}
	addr := serve(t, func(r grpc.ServiceRegistrar) { gatewayv1.RegisterConfigServiceServer(r, k) })
	var out bytes.Buffer
	site := dial(t, addr, &out, false)

	if err := site.ShowConfig(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# revision " + conf.Revision(), "not as in the file: news", "stream sport {", "server box:7002;"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("show prints\n%s\nwant %q in it", out.String(), want)
		}
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Error("show prints the key")
	}

	out.Reset()
	if err := site.ShowConfig(t.Context(), "news"); err != nil {
		t.Fatal(err)
	}
	shown := out.String()
	if strings.Contains(shown, "sport") || strings.Contains(shown, "root") {
		t.Errorf("show of a stream prints\n%s", shown)
	}
	out.Reset()
	edited := strings.Replace(shown, "3d", "5d", 1)
	if err := site.PutConfig(t.Context(), edited, operator.Change{Author: "ana", Comment: "longer"}); err != nil {
		t.Errorf("put of what show printed: %v", err)
	}
	if k.put.GetRevision() != conf.Revision() || k.put.GetAuthor() != "ana" || k.put.GetComment() != "longer" || out.String() != "stream news is in force\nrevision next\n" {
		t.Errorf("put %v, printed %q", k.put, out.String())
	}
	if err := site.PutConfig(t.Context(), edited, operator.Change{Revision: "old"}); !errors.Is(err, errs.ErrConfigConflict) {
		t.Errorf("put by who has seen another config: %v", err)
	}
	if err := site.PutConfig(t.Context(), "# revision "+conf.Revision()+"\nstream news {\n  inptu x;\n}", operator.Change{}); err == nil || !strings.Contains(err.Error(), "3:3") {
		t.Errorf("put of a wrong text: %v", err)
	}
	if err := site.ShowConfig(t.Context(), "none"); !errors.Is(err, errs.ErrStreamUnknown) {
		t.Errorf("show of an unknown stream: %v", err)
	}

	if err := site.DeleteConfig(t.Context(), "news", operator.Change{Revision: "r", Comment: "gone"}); err != nil {
		t.Error(err)
	}
	if k.del.GetStream() != "news" || k.del.GetRevision() != "r" || k.del.GetComment() != "gone" {
		t.Errorf("delete %v", k.del)
	}

	out.Reset()
	if err := site.ConfigHistory(t.Context(), 2); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"revision b  by api, ana; changed news: test card\n", "revision a  by file; added news, sport\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("history prints\n%s\nwant %q in it", out.String(), want)
		}
	}
}
