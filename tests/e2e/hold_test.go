package e2e

import (
	"net"
	"testing"
)

// holdUDP takes a UDP port, as another program would.
func holdUDP(t *testing.T, port int) (release func()) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	return func() { c.Close() }
}
