package segment

import "testing"

func TestTrackVideo(t *testing.T) {
	for codec, want := range map[string]bool{
		"avc1.64001f": true, "hvc1.1.6.L93.90": true, "hev1.1.6.L93.90": true, "mp4v.61": true, "mp4v.6A": true,
		"mp4a.40.2": false, "mp4a.6B": false, "ac-3": false, "": false,
	} {
		if got := (Track{Codec: codec}).Video(); got != want {
			t.Errorf("%q: got %v", codec, got)
		}
	}
}
