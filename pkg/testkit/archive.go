package testkit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// Archive reads one stream's archive at one site over its API.
type Archive struct {
	Site   string // for messages
	Stream string
	Conn   grpc.ClientConnInterface
}

// Segments returns the presented segments in order of media time.
func (a Archive) Segments(ctx context.Context) ([]*dvrv1.Segment, error) {
	stream, err := dvrv1.NewIndexServiceClient(a.Conn).ListSegments(ctx, &dvrv1.ListSegmentsRequest{Stream: a.Stream})
	if err != nil {
		return nil, fmt.Errorf("list segments of %s at %s: %w", a.Stream, a.Site, err)
	}
	var out []*dvrv1.Segment
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list segments of %s at %s: %w", a.Stream, a.Site, err)
		}
		out = append(out, m.GetSegment())
	}
}

// MustSegments is Segments that fails the test.
func (a Archive) MustSegments(t testing.TB) []*dvrv1.Segment {
	t.Helper()
	segs, err := a.Segments(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return segs
}

// Gaps returns what is not covered between the first and the last segment.
func (a Archive) Gaps(t testing.TB) []*dvrv1.Gap {
	t.Helper()
	resp, err := dvrv1.NewIndexServiceClient(a.Conn).FindGaps(t.Context(), &dvrv1.FindGapsRequest{Stream: a.Stream})
	if err != nil {
		t.Fatalf("find gaps of %s at %s: %v", a.Stream, a.Site, err)
	}
	return resp.GetGaps()
}

// Active returns the URL of the active input.
func (a Archive) Active(ctx context.Context) (string, error) {
	resp, err := dvrv1.NewIndexServiceClient(a.Conn).ListStreams(ctx, &dvrv1.ListStreamsRequest{})
	if err != nil {
		return "", fmt.Errorf("list streams at %s: %w", a.Site, err)
	}
	for _, s := range resp.GetStreams() {
		if s.GetStream() == a.Stream {
			return s.GetActiveInput(), nil
		}
	}
	return "", nil
}

// Read returns the bytes of a segment, checked against its digest.
func (a Archive) Read(t testing.TB, digest string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(digest)
	if err != nil {
		t.Fatalf("read segment: %v", err)
	}
	stream, err := dvrv1.NewSegmentServiceClient(a.Conn).ReadSegment(t.Context(),
		&dvrv1.ReadSegmentRequest{Stream: a.Stream, Digest: raw})
	if err != nil {
		t.Fatalf("read segment %s at %s: %v", digest, a.Site, err)
	}
	var data []byte
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("read segment %s at %s: %v", digest, a.Site, err)
		}
		data = append(data, m.GetData()...)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != digest {
		t.Fatalf("segment %s at %s: its %d bytes have digest %x", digest, a.Site, len(data), sum)
	}
	return data
}

// Eventually waits until check gives nil, and fails the test with its last complaint.
func Eventually(t testing.TB, within time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
