package auth

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/twinreel/twinreel/pkg/grpcx"
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
	return grpcx.Deferred(ctx, func(first any) (grpc.ClientStream, error) {
		ctx, err := c.creds.attach(ctx, method, first)
		if err != nil {
			return nil, err
		}
		return c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	}), nil
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
