package packager

import (
	"bytes"
	"testing"

	"github.com/twinreel/twinreel/pkg/mpegts"
)

// TestRoleIsBesideTheBytes: a role is told of the segments that begin while the map says it, and changes nothing else: not
// a byte, not where segments begin, not their identity.
func TestRoleIsBesideTheBytes(t *testing.T) {
	run := func(roles ...mpegts.Role) *recorder {
		r := &recorder{t: t}
		l := &live{p: New(Options{}, r), r: r, gop: 25, rap: idr}
		for i, role := range roles {
			audio := audioStream
			audio.Role = role
			l.p.Program(program(videoStream, audio))
			if i == 0 {
				l.jump(100000)
			}
			l.run(15)
		}
		l.end()
		return r
	}
	plain, got := run("", "", ""), run("", mpegts.RoleDescription, "")
	if len(plain.segs) != len(got.segs) {
		t.Fatalf("%d segments, %d without a role", len(got.segs), len(plain.segs))
	}
	told := 0
	for i, s := range got.segs {
		if !bytes.Equal(s.data, plain.segs[i].data) || s.key.InitSet != plain.segs[i].key.InitSet || s.info.Digest != plain.segs[i].info.Digest {
			t.Errorf("segment %d is another because of a role", i)
		}
		switch role := s.info.Track(audioStream.PID).Role; {
		case role == string(mpegts.RoleDescription):
			told++
		case role != "":
			t.Errorf("segment %d: role %q", i, role)
		}
	}
	if told < 2 || told > 4 {
		t.Errorf("%d of %d segments have the role", told, len(got.segs))
	}
}
