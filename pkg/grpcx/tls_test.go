package grpcx_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/testkit"
)

func serveTLS(t *testing.T, conf grpcx.TLS) (addr string, pipe *grpcx.Pipe) {
	t.Helper()
	srv, err := grpcx.NewServer(grpcx.ServerOptions{TLS: conf})
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pipe = grpcx.NewPipe()
	go srv.Serve(t.Context(), lis, pipe.Listener()) //nolint:errcheck // ends with the test
	return lis.Addr().String(), pipe
}

func check(t *testing.T, conn *grpc.ClientConn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}

// Who has a certificate of the authority passes in both directions; a stranger does not, nor does plaintext.
func TestTLS(t *testing.T) {
	ours, theirs := testkit.NewCA(t, "ours"), testkit.NewCA(t, "theirs")
	server, client, stranger := ours.Issue(t, "127.0.0.1"), ours.Issue(t, "client"), theirs.Issue(t, "client")
	mutual, pipe := serveTLS(t, server)
	anyone, _ := serveTLS(t, grpcx.TLS{Cert: server.Cert, Key: server.Key})
	for _, c := range []struct {
		name, addr string
		client     grpcx.TLS
		as         string
		want       bool
	}{
		{"one of ours", mutual, client, "", true},
		{"a stranger", mutual, grpcx.TLS{Cert: stranger.Cert, Key: stranger.Key, CA: ours.File}, "", false},
		{"without a certificate", mutual, grpcx.TLS{CA: ours.File}, "", false},
		{"plaintext", mutual, grpcx.TLS{}, "", false},
		{"a server of another authority", mutual, grpcx.TLS{Cert: client.Cert, Key: client.Key, CA: theirs.File}, "", false},
		{"a server of another name", mutual, client, "elsewhere", false},
		{"a server that asks for none", anyone, grpcx.TLS{CA: ours.File}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := grpcx.Dial(c.addr, grpcx.DialOptions{TLS: c.client, Name: c.as})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := check(t, conn); (err == nil) != c.want {
				t.Errorf("got %v", err)
			}
		})
	}
	inside, err := pipe.Dial(grpcx.DialOptions{TLS: client})
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	if err := check(t, inside); err != nil {
		t.Errorf("within the process: %v", err)
	}
}

// A renewed certificate is shown without a restart, and one that is half written is not.
func TestCertificateIsRenewed(t *testing.T) {
	ca := testkit.NewCA(t, "ca")
	files := ca.Issue(t, "127.0.0.1")
	addr, _ := serveTLS(t, grpcx.TLS{Cert: files.Cert, Key: files.Key})
	shown := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) //nolint:gosec // only looked at
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := shown()
	if err := os.WriteFile(files.Cert, []byte("-----BEGIN"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch(t, files.Cert, time.Minute)
	if shown() != first {
		t.Error("a certificate that cannot be read replaced one that can")
	}
	ca.Renew(t, files, "127.0.0.1")
	touch(t, files.Cert, 2*time.Minute)
	if shown() == first {
		t.Error("the renewed certificate is not shown")
	}
}

// touch makes sure that the file's time differs.
func touch(t *testing.T, file string, by time.Duration) {
	t.Helper()
	at := time.Now().Add(by)
	if err := os.Chtimes(file, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestTLSProblems(t *testing.T) {
	ca := testkit.NewCA(t, "ca")
	good := ca.Issue(t, "x")
	for name, c := range map[string]grpcx.TLS{
		"certificate without key": {Cert: good.Cert},
		"not the key":             {Cert: good.Cert, Key: ca.Issue(t, "y").Key},
		"no such file":            {CA: "/nowhere/ca.pem"},
		"no authority in it":      {CA: good.Key},
	} {
		if c.Problem() == nil {
			t.Errorf("%s: no problem", name)
		}
	}
	if err := good.Problem(); err != nil {
		t.Errorf("got %v", err)
	}
}
