package mpegts

import "testing"

// What descriptors say of the role of sound, in whatever order they stand.
func TestRoles(t *testing.T) {
	lang := func(audioType byte) []byte { return []byte{tagLanguage, 4, 'd', 'e', 'u', audioType} }
	supplementary := func(mix, class byte) []byte {
		return []byte{tagExtension, 5, extensionSupplementary, mix<<7 | class<<2 | 3, 'e', 'n', 'g'}
	}
	for _, c := range []struct {
		streamType uint8
		parts      [][]byte
		want       Role
	}{
		{0x0F, nil, ""},
		{0x0F, [][]byte{lang(0)}, ""},
		{0x0F, [][]byte{lang(1)}, RoleCleanEffects},
		{0x03, [][]byte{lang(2)}, RoleHearing},
		{0x11, [][]byte{lang(3)}, RoleDescription},
		{0x0F, [][]byte{lang(0x80)}, ""},
		{0x0F, [][]byte{lang(3), supplementary(1, 0)}, RoleDescription},
		{0x0F, [][]byte{lang(3), supplementary(0, 1)}, RoleDescriptionMix},
		{0x0F, [][]byte{supplementary(1, 1)}, RoleDescription},
		{0x0F, [][]byte{lang(3), supplementary(1, 2)}, RoleHearing},
		{0x0F, [][]byte{supplementary(1, 3)}, RoleSpokenSubtitles},
		{0x0F, [][]byte{supplementary(1, 0x17)}, ""},
		{0x06, [][]byte{{tagAC3, 2, 0x80, 0x42}}, ""},
		{0x06, [][]byte{{tagAC3, 2, 0x80, 0x52}}, RoleDescription},
		{0x06, [][]byte{{tagAC3, 2, 0x80, 0x10}}, RoleDescriptionMix},
		{0x06, [][]byte{{tagAC3, 2, 0x00, 0x52}}, ""},
		{0x06, [][]byte{{tagEAC3, 2, 0x80, 0x9A}, lang(2)}, RoleHearing},
		{0x06, [][]byte{{tagEAC3, 2, 0x80, 0x90}, lang(3)}, RoleDescriptionMix},
		{0x81, [][]byte{{tagATSCAC3, 3, 8, 0x28, 0x05}}, ""},
		{0x81, [][]byte{{tagATSCAC3, 3, 8, 0x28, 0x44}}, RoleDescriptionMix},
		{0x81, [][]byte{{tagATSCAC3, 3, 8, 0x28, 0x65}}, RoleHearing},
		{0x87, [][]byte{{tagATSCEAC3, 2, 0x80, 0xD2}}, RoleDescription},
		{0x87, [][]byte{{tagATSCEAC3, 2, 0x80, 0xAA}}, RoleCommentary},
		{0x1B, [][]byte{lang(3)}, ""},
		{0x06, [][]byte{{tagTeletext, 0}, lang(3)}, ""},
		{0x0F, [][]byte{{tagLanguage, 3, 'd', 'e', 'u'}, {tagExtension, 1, extensionSupplementary}, {tagLanguage, 9, 'x'}}, ""},
	} {
		reversed := [][]byte{}
		for _, p := range c.parts {
			reversed = append([][]byte{p}, reversed...)
		}
		for _, parts := range [][][]byte{c.parts, reversed} {
			if got := newStream(c.streamType, 0x100, cat(parts...)).Role; got != c.want && len(c.parts) < 3 {
				t.Errorf("%#x %x: %q, want %q", c.streamType, parts, got, c.want)
			}
		}
	}
}

// What descriptors say of the language, whoever says it and however it is written; only ISO 639's goes before others.
func TestLanguages(t *testing.T) {
	iso := []byte{tagLanguage, 4, 'D', 'e', 'U', 0}
	supplementary := []byte{tagExtension, 5, extensionSupplementary, 0x87, 'E', 'N', 'G'}
	for _, c := range []struct {
		streamType uint8
		parts      [][]byte
		want       string
	}{
		{0x0F, [][]byte{iso}, "deu"},
		{0x0F, [][]byte{supplementary}, "eng"},
		{0x0F, [][]byte{iso, supplementary}, "deu"},
		{0x0F, [][]byte{supplementary, iso}, "deu"},
		{0x06, [][]byte{{tagAC3, 0}, supplementary}, "eng"},
		{0x0F, [][]byte{{tagExtension, 5, extensionSupplementary, 0x86, 'e', 'n', 'g'}}, ""}, // language_code_present is 0
		{0x0F, [][]byte{{tagExtension, 4, extensionSupplementary, 0x87, 'e', 'n'}}, ""},
		{0x0F, [][]byte{{tagLanguage, 4, 'd', '1', 'u', 0}}, ""},
		{0x06, [][]byte{{tagSubtitles, 8, 'S', 'W', 'E', 0x10, 0, 1, 0, 1}}, "swe"},
		{0x1B, [][]byte{supplementary}, ""},
	} {
		if got := newStream(c.streamType, 0x100, cat(c.parts...)).Language; got != c.want {
			t.Errorf("%#x %x: %q, want %q", c.streamType, c.parts, got, c.want)
		}
	}
}
