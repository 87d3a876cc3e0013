package grpcx

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// TLS is what a process proves itself with, and whom it believes. The zero value is plaintext.
//
// A server with CA lets in only callers whose certificate that CA has signed; without it, anyone. A client shows its own
// certificate to a server that asks, and believes servers that CA has signed or, without CA, the machine's authorities.
type TLS struct {
	Cert, Key string // PEM files, read again when they change: a renewed certificate needs no restart
	CA        string // PEM file of the authorities that are believed; read once
}

// Enabled reports whether there is anything but plaintext.
func (t TLS) Enabled() bool { return t != TLS{} }

// Problem says why it cannot be used, or nil.
func (t TLS) Problem() error {
	if (t.Cert == "") != (t.Key == "") {
		return errors.New("a certificate and its key go together: one of the two is missing")
	}
	if t.Cert != "" {
		if _, err := tls.LoadX509KeyPair(t.Cert, t.Key); err != nil {
			return fmt.Errorf("read certificate: %w", err)
		}
	}
	_, err := t.pool()
	return err
}

func (t TLS) pool() (*x509.CertPool, error) {
	if t.CA == "" {
		return nil, nil
	}
	b, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("read authorities: %w", err)
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("read authorities: %s has no certificate in PEM", t.CA)
	}
	return p, nil
}

// ServerConfig is for a listener that is not gRPC: players and browsers have no certificates, so none is asked for.
func (t TLS) ServerConfig() (*tls.Config, error) {
	if err := t.Problem(); err != nil {
		return nil, err
	}
	pair := &keyPair{cert: t.Cert, key: t.Key}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12, // old players
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.load() },
	}, nil
}

// Server is the credentials of a gRPC server. Calls within the process pass in plaintext.
func (t TLS) Server() (credentials.TransportCredentials, error) {
	if t.Cert == "" {
		return insecure.NewCredentials(), nil
	}
	c, err := t.ServerConfig()
	if err != nil {
		return nil, err
	}
	c.MinVersion = tls.VersionTLS13
	if c.ClientCAs, err = t.pool(); err != nil {
		return nil, err
	}
	if c.ClientCAs != nil {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return unlessInProcess{credentials.NewTLS(c)}, nil
}

// Client is the credentials of a gRPC client. name overrules the host that is dialled as the name in the server's
// certificate; empty: the host.
func (t TLS) Client(name string) (credentials.TransportCredentials, error) {
	c, err := t.Config(name)
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(c), nil
}

// Config is what Client is made of.
func (t TLS) Config(name string) (*tls.Config, error) {
	if err := t.Problem(); err != nil {
		return nil, err
	}
	pool, err := t.pool()
	if err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: name}
	if t.Cert != "" {
		pair := &keyPair{cert: t.Cert, key: t.Key}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.load() }
	}
	return c, nil
}

// Self is the credentials with which a process asks another of the same machine that has the same TLS: whoever listens
// there is believed, for no secret is told and no authority may be at hand to ask.
func (t TLS) Self() (credentials.TransportCredentials, error) {
	if t.Cert == "" {
		return insecure.NewCredentials(), nil
	}
	c, err := t.Config("")
	if err != nil {
		return nil, err
	}
	c.InsecureSkipVerify = true
	return credentials.NewTLS(c), nil
}

// keyPair is a certificate that is read again when its file has changed.
type keyPair struct {
	cert, key string

	mu     sync.Mutex // protects the fields below
	loaded *tls.Certificate
	of     time.Time
}

// load gives the newest certificate that can be read: one that is half written leaves the one before in use.
func (k *keyPair) load() (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := os.Stat(k.cert)
	if err == nil && k.loaded != nil && info.ModTime().Equal(k.of) {
		return k.loaded, nil
	}
	pair, loadErr := tls.LoadX509KeyPair(k.cert, k.key)
	switch err := errors.Join(err, loadErr); {
	case err == nil:
		k.loaded, k.of = &pair, info.ModTime()
	case k.loaded == nil:
		return nil, err
	}
	return k.loaded, nil
}

// unlessInProcess leaves the pipe of one box in plaintext: it never leaves the process.
type unlessInProcess struct {
	credentials.TransportCredentials
}

func (c unlessInProcess) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if conn.RemoteAddr().Network() == "bufconn" {
		return insecure.NewCredentials().ServerHandshake(conn)
	}
	return c.TransportCredentials.ServerHandshake(conn)
}

func (c unlessInProcess) Clone() credentials.TransportCredentials {
	return unlessInProcess{c.TransportCredentials.Clone()}
}
