package operator

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/timeline"
)

var wrapping = regexp.MustCompile(`rpc error: code = \w+ desc = |connection error: desc = |"?transport: Error while dialing: |"$`)

// plain takes out of an error what gRPC puts around it.
func plain(message string) string {
	if !strings.Contains(message, "desc = ") {
		return message
	}
	return wrapping.ReplaceAllString(message, "")
}

// raw is a message as it stands in JSON.
func raw(m proto.Message) json.RawMessage {
	b, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return json.RawMessage("null")
	}
	return b
}

func raws[M proto.Message](ms []M) []json.RawMessage {
	out := make([]json.RawMessage, len(ms))
	for i, m := range ms {
		out[i] = raw(m)
	}
	return out
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func clock(t *timestamppb.Timestamp) string { return t.AsTime().Format("2006-01-02T15:04:05.000Z") }

func span(from, to *timestamppb.Timestamp) string {
	return to.AsTime().Sub(from.AsTime()).Round(time.Millisecond).String()
}

func seconds(ticks int64) string {
	return timeline.Ticks(ticks).Duration().Round(time.Millisecond).String()
}

func size(n uint64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f kB", float64(n)/1e3)
}
