package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
)

// HTTP gives raw bytes:
//
//	GET /api/v1/streams/STREAM/segments/DIGEST   one copy, T form: its SHA-256 is the digest
//	GET /api/v1/streams/STREAM/init/HASH         one init segment
func (s *Server) HTTP() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/streams/{stream}/segments/{digest}", s.httpSegment)
	mux.HandleFunc("GET /api/v1/streams/{stream}/init/{hash}", s.httpInit)
	return mux
}

func (s *Server) httpSegment(w http.ResponseWriter, r *http.Request) {
	d, err := segment.ParseDigest(r.PathValue("digest"))
	if err != nil {
		httpError(w, invalid(err))
		return
	}
	a, err := s.archive(r.PathValue("stream"))
	if err != nil {
		httpError(w, err)
		return
	}
	rd, err := a.NewReader(d, 0)
	if err != nil {
		httpError(w, fmt.Errorf("read segment %s: %w", d, err))
		return
	}
	defer rd.Close()
	immutable(w, d, rd.Copy().Info.Bytes)
	for {
		_, data, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler) // the length was announced: the client sees that it is short
		}
		if _, err := w.Write(data); err != nil {
			return
		}
	}
}

func (s *Server) httpInit(w http.ResponseWriter, r *http.Request) {
	h, err := segment.ParseDigest(r.PathValue("hash"))
	if err != nil {
		httpError(w, invalid(err))
		return
	}
	a, err := s.archive(r.PathValue("stream"))
	if err != nil {
		httpError(w, err)
		return
	}
	in, err := a.Init(h)
	if err != nil {
		httpError(w, fmt.Errorf("read init segment %s: %w", h, err))
		return
	}
	immutable(w, h, uint64(len(in.Data)))
	w.Write(in.Data) //nolint:errcheck // the client is gone
}

// immutable sets the headers of bytes that are named by their hash.
func immutable(w http.ResponseWriter, d segment.Digest, bytes uint64) {
	h := w.Header()
	h.Set("Content-Type", "video/mp4")
	h.Set("Content-Length", strconv.FormatUint(bytes, 10))
	h.Set("ETag", `"`+d.String()+`"`)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
}

func httpError(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, errs.ErrInvalid):
		code = http.StatusBadRequest
	case errors.Is(err, errs.ErrExpired), errors.Is(err, errs.ErrDeleted):
		code = http.StatusGone
	case errors.Is(err, errs.ErrStreamUnknown), errors.Is(err, errs.ErrUnknown), errors.Is(err, errs.ErrQuarantined),
		errors.Is(err, errs.ErrSuperseded): // the text names the digest of what took its place
		code = http.StatusNotFound
	case errors.Is(err, errs.ErrNotReady):
		code = http.StatusServiceUnavailable
	}
	http.Error(w, err.Error(), code)
}
