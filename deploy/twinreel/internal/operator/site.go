package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	nodev1 "github.com/twinreel/twinreel/proto/twinreel/node/v1"
)

// ErrDifference is the end of a command that worked and whose answer is bad: a difference, damage, nothing in the range.
var ErrDifference = errors.New("not as it should be")

// lookTimeout bounds the question what an address serves.
const lookTimeout = 5 * time.Second

// What the commands ask for.
const (
	index       = "twinreel.dvr.v1.IndexService"
	segments    = "twinreel.dvr.v1.SegmentService"
	recording   = "twinreel.dvr.v1.RecordingService"
	maintenance = "twinreel.dvr.v1.MaintenanceService"
	ingest      = "twinreel.ingest.v1.IngestService"
	replication = "twinreel.repl.v1.ReplicationService"
	config      = "twinreel.gateway.v1.ConfigService"
	node        = "twinreel.node.v1.NodeService"
)

// program is the one of the four that has a service.
func program(service string) string {
	for name, p := range map[string]string{
		"twinreel.dvr.": "dvrsvc", "twinreel.ingest.": "ingestsvc", "twinreel.repl.": "replsvc", "twinreel.gateway.": "gateway",
	} {
		if strings.HasPrefix(service, name) {
			return p
		}
	}
	return ""
}

// Site is a site that is asked: at one address when its services share one, else at several.
type Site struct {
	parts []*part
	out   io.Writer
	json  bool
	look  sync.Once
}

// part is one address.
type part struct {
	addr     string
	conn     grpc.ClientConnInterface
	shut     func() error
	known    bool     // services is what it has
	programs []string // which of the four are there
	services []string
	running  []*nodev1.Service // empty: it does not say
	health   string
	err      error // why it does not answer
}

// Access is what a site wants to see before it answers. The zero value is for one that wants nothing.
type Access struct {
	TLS grpcx.TLS
	Key auth.Key // of the cluster
}

// caller is who we are to the sites.
const caller = "twinreel"

// Dial prepares to ask the site at HOST:PORT, or at several of them with commas between; it connects with the first
// question.
func Dial(addrs string, access Access, out io.Writer, asJSON bool) (*Site, error) {
	s := &Site{out: out, json: asJSON}
	for addr := range strings.SplitSeq(addrs, ",") {
		addr = strings.TrimSpace(addr)
		conn, err := grpcx.Dial(addr, grpcx.DialOptions{Media: true, TLS: access.TLS})
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.parts = append(s.parts, &part{addr: addr, conn: auth.Proving(conn, caller, access.Key), shut: conn.Close})
	}
	return s, nil
}

// New asks through a connection that stays the caller's.
func New(conn grpc.ClientConnInterface, out io.Writer, asJSON bool) *Site {
	p := &part{addr: "the site", conn: conn, shut: func() error { return nil }}
	return &Site{parts: []*part{p}, out: out, json: asJSON}
}

// Close ends the connections.
func (s *Site) Close() error {
	var err error
	for _, p := range s.parts {
		err = errors.Join(err, p.shut())
	}
	return err
}

// find gives the first address that has a service.
func (s *Site) find(ctx context.Context, service string) (*part, error) {
	all, err := s.all(ctx, service)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// all gives the addresses that have a service: at least one, or an error.
func (s *Site) all(ctx context.Context, service string) ([]*part, error) {
	s.learn(ctx)
	var out []*part
	for _, p := range s.parts {
		if p.err == nil && (!p.known || slices.Contains(p.services, service)) {
			out = append(out, p)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	for _, p := range s.parts {
		if p.err != nil {
			return nil, p.err
		}
	}
	return nil, fmt.Errorf("%s has no %s; give the address of %s too: --grpc HOST:PORT,HOST:PORT",
		s.addrs(), program(service), program(service))
}

// unanswered is the error of the addresses that do not answer: what is asked of all of a site is not known of them.
func (s *Site) unanswered() error {
	var missing []string
	for _, p := range s.parts {
		if p.err != nil {
			missing = append(missing, p.err.Error())
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return errors.New(strings.Join(missing, "; "))
}

// learn asks every address once what it serves.
func (s *Site) learn(ctx context.Context) {
	s.look.Do(func() {
		var wg sync.WaitGroup
		for _, p := range s.parts {
			wg.Go(func() { p.learn(ctx) })
		}
		wg.Wait()
	})
}

func (p *part) learn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	services, err := reflected(ctx, p.conn)
	switch {
	case err == nil:
		p.known, p.services = true, services
	case status.Code(err) != codes.Unimplemented: // without reflection: what it has is found by asking
		p.err = fmt.Errorf("%s does not answer: %s", p.addr, plain(status.Convert(err).Message()))
		return
	}
	for _, name := range services {
		if n := program(name); n != "" && !slices.Contains(p.programs, n) {
			p.programs = append(p.programs, n)
		}
	}
	slices.Sort(p.programs)
	if slices.Contains(services, node) {
		m, err := nodev1.NewNodeServiceClient(p.conn).ListServices(ctx, &nodev1.ListServicesRequest{})
		if err != nil {
			p.err = p.asked("list services", err)
			return
		}
		p.running = m.GetServices()
	}
	h, err := healthpb.NewHealthClient(p.conn).Check(ctx, &healthpb.HealthCheckRequest{})
	switch {
	case err != nil:
		p.health = "health unknown"
	case h.GetStatus() == healthpb.HealthCheckResponse_SERVING:
		p.health = "serving"
	default:
		p.health = "not serving"
	}
}

// reflected lists the services of a server.
func reflected(ctx context.Context, conn grpc.ClientConnInterface) ([]string, error) {
	rpc, err := reflectpb.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		return nil, err
	}
	ask := &reflectpb.ServerReflectionRequest{MessageRequest: &reflectpb.ServerReflectionRequest_ListServices{}}
	if err := rpc.Send(ask); err != nil && !errors.Is(err, io.EOF) { // the cause of an end comes with Recv
		return nil, err
	}
	m, err := rpc.Recv()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, x := range m.GetListServicesResponse().GetService() {
		out = append(out, x.GetName())
	}
	return out, rpc.CloseSend()
}

// asked adds whom was asked to an error that is none of the answer's. What has a reason is an answer: that a peer of
// the site cannot be reached is not to be blamed on the site.
func (p *part) asked(what string, err error) error {
	if err == nil {
		return nil
	}
	err = rpcerr.FromStatus(err)
	switch {
	case errors.Is(err, errs.ErrBadKey):
		return &answer{text: fmt.Sprintf("%s: %s: %s (the key of a site is given with --cluster-key-file)", what, p.addr, plain(err.Error())), err: err}
	case rpcerr.Reason(err) != "":
	case status.Code(err) == codes.Unavailable, status.Code(err) == codes.DeadlineExceeded:
		return fmt.Errorf("%s: %s does not answer: %s", what, p.addr, plain(status.Convert(err).Message()))
	case status.Code(err) == codes.Unimplemented:
		return fmt.Errorf("%s: %s does not have this service", what, p.addr)
	}
	return &answer{text: what + ": " + plain(err.Error()), err: err}
}

// answer is an error in plain words.
type answer struct {
	text string
	err  error
}

func (a *answer) Error() string { return a.text }
func (a *answer) Unwrap() error { return a.err }

func (s *Site) addrs() string {
	var out []string
	for _, p := range s.parts {
		out = append(out, p.addr)
	}
	return strings.Join(out, ", ")
}

func (s *Site) printf(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }

func (s *Site) printJSON(v any) error {
	e := json.NewEncoder(s.out)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
