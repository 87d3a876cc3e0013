package httpapi

import (
	"fmt"
	"net/http"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/streamconf"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// immutable is for what is named by its hash.
const immutable = "public, max-age=31536000, immutable"

type api struct {
	conn  grpc.ClientConnInterface
	index dvrv1.IndexServiceClient
}

// New serves the paths below /api/v1/streams from the dvrsvc behind conn.
func New(conn grpc.ClientConnInterface) http.Handler {
	a := &api{conn: conn, index: dvrv1.NewIndexServiceClient(conn)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/streams", a.streams)
	mux.HandleFunc("GET /api/v1/streams/{stream}/ranges", a.ranges)
	mux.HandleFunc("GET /api/v1/streams/{stream}/segments/{digest}", a.segment)
	mux.HandleFunc("GET /api/v1/streams/{stream}/init/{hash}", a.init)
	return AnyOrigin(mux)
}

// AnyOrigin lets the pages of all origins read what h answers, errors too: a player in a browser sees no more of an
// answer without it than that there was one. Nothing of it depends on who asks, and a browser sends no credentials.
func AnyOrigin(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		h.ServeHTTP(w, r)
	})
}

func (a *api) streams(w http.ResponseWriter, r *http.Request) {
	m, err := a.index.ListStreams(r.Context(), &dvrv1.ListStreamsRequest{})
	if err != nil {
		WriteError(w, fmt.Errorf("list streams: %w", rpcerr.FromStatus(err)))
		return
	}
	writeJSON(w, m)
}

func (a *api) ranges(w http.ResponseWriter, r *http.Request) {
	req := &dvrv1.GetRangesRequest{Stream: r.PathValue("stream")}
	for name, to := range map[string]**timestamppb.Timestamp{"from": &req.From, "to": &req.To} {
		s := r.URL.Query().Get(name)
		if s == "" {
			continue
		}
		t, err := archive.ParseTime(s)
		if err != nil {
			WriteError(w, fmt.Errorf("%w: %w", errs.ErrInvalid, err))
			return
		}
		*to = timestamppb.New(t)
	}
	m, err := a.index.GetRanges(r.Context(), req)
	if err != nil {
		WriteError(w, fmt.Errorf("get ranges of %s: %w", req.GetStream(), rpcerr.FromStatus(err)))
		return
	}
	writeJSON(w, m)
}

// segment hands out the bytes whose SHA-256 is the digest: T form (FORMAT.md, rule 1).
func (a *api) segment(w http.ResponseWriter, r *http.Request) {
	stream, digest, err := Names(r, "digest")
	if err != nil {
		WriteError(w, err)
		return
	}
	_, b, err := archive.New(a.conn, stream).ReadDigest(r.Context(), digest)
	if err != nil {
		WriteError(w, err)
		return
	}
	WriteImmutable(w, "video/iso.segment", digest, b)
}

func (a *api) init(w http.ResponseWriter, r *http.Request) {
	stream, hash, err := Names(r, "hash")
	if err != nil {
		WriteError(w, err)
		return
	}
	b, err := archive.New(a.conn, stream).ReadInit(r.Context(), hash)
	if err != nil {
		WriteError(w, err)
		return
	}
	WriteImmutable(w, "video/mp4", hash, b)
}

// Names reads the stream and a hash out of the path of a request.
func Names(r *http.Request, hash string) (string, segment.Digest, error) {
	stream := r.PathValue("stream")
	if err := streamconf.CheckName(stream); err != nil {
		return "", segment.Digest{}, fmt.Errorf("%w: %w", errs.ErrInvalid, err)
	}
	d, err := segment.ParseDigest(r.PathValue(hash))
	if err != nil {
		return "", d, fmt.Errorf("%w: %w", errs.ErrInvalid, err)
	}
	return stream, d, nil
}

// WriteImmutable answers with bytes that are named by a hash and never change.
func WriteImmutable(w http.ResponseWriter, contentType string, hash segment.Digest, b []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("Cache-Control", immutable)
	h.Set("ETag", `"`+hash.String()+`"`)
	w.Write(b) //nolint:errcheck // the client is gone
}

func writeJSON(w http.ResponseWriter, m proto.Message) {
	b, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		WriteError(w, fmt.Errorf("write answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	w.Write(b) //nolint:errcheck // the client is gone
}
