// Package containers runs two sites as four containers each, from the images that `make images` built, on networks of
// their own with a link between the two sites' replsvc, mTLS and a cluster key everywhere, and one multicast source.
// It needs a Docker Engine and no registry.
//
// The networks have addresses of the documentation ranges (RFC 5737), which are nobody's.
package containers
