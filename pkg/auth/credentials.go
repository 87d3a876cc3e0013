package auth

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/twinreel/twinreel/pkg/rpcerr"
)

// Credentials is what a caller proves itself with. Without Key, calls only name node and session.
type Credentials struct {
	Key      Key
	From, To string // node ids: the caller's and the server's
	Nonce    []byte // of the server, for the call that opens the session
	Session  []byte // for all others
	// Challenge asks the server to prove the key in turn.
	Challenge []byte
}

// Conn wraps a connection so that every call over it carries a proof, and every error of ours comes back as the
// sentinel that was sent.
func (c Credentials) Conn(cc grpc.ClientConnInterface) grpc.ClientConnInterface { return conn{cc, c} }

type conn struct {
	grpc.ClientConnInterface
	creds Credentials
}

func (c conn) Invoke(ctx context.Context, method string, req, reply any, opts ...grpc.CallOption) error {
	ctx, err := c.creds.attach(ctx, method, req)
	if err != nil {
		return err
	}
	return rpcerr.FromStatus(c.ClientConnInterface.Invoke(ctx, method, req, reply, opts...))
}

func (c conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return &provenStream{ctx: ctx, opened: make(chan struct{}), open: func(first any) (grpc.ClientStream, error) {
		ctx, err := c.creds.attach(ctx, method, first)
		if err != nil {
			return nil, err
		}
		return c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	}}, nil
}

// attach adds the metadata for a request.
func (c Credentials) attach(ctx context.Context, method string, req any) (context.Context, error) {
	kv := []string{mdNode, c.From}
	add := func(k string, v []byte) {
		if len(v) > 0 {
			kv = append(kv, k, string(v))
		}
	}
	add(mdSession, c.Session)
	add(mdNonce, c.Nonce)
	add(mdChallenge, c.Challenge)
	challenge := c.Session
	if len(challenge) == 0 {
		challenge = c.Nonce
	}
	if !c.Key.IsZero() && len(challenge) > 0 {
		body, err := bodyHash(req)
		if err != nil {
			return ctx, err
		}
		add(mdProof, c.Key.Prove(Claim{Method: method, From: c.From, To: c.To, Nonce: challenge, Body: body}))
	}
	return metadata.AppendToOutgoingContext(ctx, kv...), nil
}

var errNothingSent = errors.New("the stream was closed before its first message")

// provenStream opens the stream at its first message, since the proof travels ahead of the message it binds.
type provenStream struct {
	ctx    context.Context
	open   func(first any) (grpc.ClientStream, error)
	once   sync.Once
	opened chan struct{}
	cs     grpc.ClientStream // set once opened is closed
	err    error             // why there is no cs
}

func (s *provenStream) SendMsg(m any) error {
	s.once.Do(func() {
		s.cs, s.err = s.open(m)
		close(s.opened)
	})
	if s.err != nil {
		return rpcerr.FromStatus(s.err)
	}
	err := s.cs.SendMsg(m)
	if errors.Is(err, io.EOF) {
		return err // the cause comes from RecvMsg, as grpc has it
	}
	return rpcerr.FromStatus(err)
}

// wait blocks until there is a stream.
func (s *provenStream) wait() error {
	select {
	case <-s.opened:
		return s.err
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *provenStream) RecvMsg(m any) error {
	if err := s.wait(); err != nil {
		return rpcerr.FromStatus(err)
	}
	err := s.cs.RecvMsg(m)
	if errors.Is(err, io.EOF) {
		return err
	}
	return rpcerr.FromStatus(err)
}

func (s *provenStream) Header() (metadata.MD, error) {
	if err := s.wait(); err != nil {
		return nil, err
	}
	return s.cs.Header()
}

func (s *provenStream) Trailer() metadata.MD {
	if s.wait() != nil {
		return nil
	}
	return s.cs.Trailer()
}

func (s *provenStream) CloseSend() error {
	s.once.Do(func() {
		s.err = errNothingSent
		close(s.opened)
	})
	if s.cs == nil {
		return nil
	}
	return s.cs.CloseSend()
}

func (s *provenStream) Context() context.Context { return s.ctx }
