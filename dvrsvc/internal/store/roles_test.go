package store

import (
	"reflect"
	"testing"

	"github.com/twinreel/twinreel/pkg/segment"
)

// What a track is for is known of a copy that was broken off, whose record was not written; without a role the head is as
// it always was.
func TestRolesInTheHeadOfACopy(t *testing.T) {
	for _, role := range []string{"", "visually-impaired"} {
		want := copyHead{tracks: []segment.Track{{PID: 256, Codec: "mp4a.40.2", Language: "deu", Role: role}, {PID: 257, Codec: "mp4a.40.2"}}}
		want.options.Path = []string{"a"}
		var n nonce
		b := want.append(nil, n)
		payload := b[24 : len(b)-4]
		if roles := payload[0]&8 != 0; roles != (role != "") {
			t.Errorf("flags %#x with role %q", payload[0], role)
		}
		got, err := parseCopyHead(payload)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}
