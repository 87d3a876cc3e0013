package grpcx

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/grpc/resolver/dns"

	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

// nameServer answers every question for an IPv4 address with the one that it has now.
type nameServer struct {
	conn  net.PacketConn
	now   atomic.Pointer[[4]byte]
	asked atomic.Int64
}

func (n *nameServer) run() {
	b := make([]byte, 1500)
	for {
		size, from, err := n.conn.ReadFrom(b)
		if err != nil {
			return
		}
		var q dnsmessage.Message
		if q.Unpack(b[:size]) != nil || len(q.Questions) != 1 {
			continue
		}
		n.asked.Add(1)
		a := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, Authoritative: true, RecursionAvailable: true}, Questions: q.Questions}
		if q.Questions[0].Type == dnsmessage.TypeA {
			a.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 1},
				Body:   &dnsmessage.AResource{A: *n.now.Load()},
			}}
		}
		if out, err := a.Pack(); err == nil {
			n.conn.WriteTo(out, from) //nolint:errcheck // it asks again
		}
	}
}

// TestNameIsResolvedAgain: fault 54. A server that comes back under its name at another address is found, by the connection that was open.
func TestNameIsResolvedAgain(t *testing.T) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	names := &nameServer{conn: conn}
	names.now.Store(&[4]byte{127, 0, 0, 1})
	go names.run()
	was := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp4", conn.LocalAddr().String())
	}}
	defer func() { net.DefaultResolver = was }()
	dns.SetMinResolutionInterval(100 * time.Millisecond) // of grpc it is 30 s
	defer dns.SetMinResolutionInterval(30 * time.Second)

	serve := func(addr string) (*Server, string) {
		lis, err := net.Listen("tcp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		srv, err := NewServer(ServerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		gatewayv1.RegisterConfigServiceServer(srv, service{})
		go srv.Server.Serve(lis) //nolint:errcheck // ends with Stop
		_, port, _ := net.SplitHostPort(lis.Addr().String())
		return srv, port
	}
	first, port := serve("127.0.0.1:0")
	cc, err := Dial("peer.example.:"+port, DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	call := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := gatewayv1.NewConfigServiceClient(cc).Get(ctx, &gatewayv1.GetRequest{Stream: "s"})
		return err
	}
	deadline := time.Now().Add(30 * time.Second)
	for err := call(); err != nil; err = call() {
		if time.Now().After(deadline) {
			t.Fatalf("at the first address: %v", err)
		}
	}
	first.Stop()
	second, _ := serve("127.0.0.2:" + port)
	defer second.Stop()
	if err := call(); err == nil {
		t.Fatal("it was answered from an address that the name does not have")
	}
	names.now.Store(&[4]byte{127, 0, 0, 2})
	for err := call(); err != nil; err = call() {
		if time.Now().After(deadline) {
			t.Fatalf("at the second address: %v; the name was asked for %d times", err, names.asked.Load())
		}
	}
}
