package aac_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/twinreel/twinreel/pkg/aac"
)

// field is a number of so many bits.
type field struct{ n, v int }

func pack(fields ...field) []byte {
	var b []byte
	at := 0
	for _, f := range fields {
		for i := f.n - 1; i >= 0; i-- {
			if at%8 == 0 {
				b = append(b, 0)
			}
			b[at/8] |= byte(f.v>>i&1) << (7 - at%8)
			at++
		}
	}
	return b
}

func join(parts ...[]field) (out []field) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

var (
	lc48     = []field{{5, 2}, {4, 3}, {4, 2}, {3, 0}}                         // LC, 48 kHz, stereo
	explicit = []field{{5, 5}, {4, 6}, {4, 2}, {4, 3}, {5, 2}, {3, 0}}         // SBR, 24 to 48 kHz
	stereo   = []field{{5, 29}, {4, 6}, {4, 1}, {4, 3}, {5, 2}, {3, 0}}        // PS
	elements = []field{{5, 2}, {4, 3}, {4, 0}, {3, 0}, {4, 0}, {2, 1}, {4, 3}, // channels by a program_config_element:
		{4, 1}, {4, 0}, {4, 1}, {2, 1}, {3, 1}, {4, 0}, {3, 0}, // one in front, one behind, LFE, data
		{1, 1}, {4, 0}, {1, 0}, {4, 1}, {4, 2}, {4, 3}, {4, 0}, {8, 1}, {8, 'x'}} // a pair and a single one, filled up, a comment
)

type configCase struct {
	name string
	data []byte
	want aac.Config
	err  error
}

func configCases() []configCase {
	return []configCase{
		{"LC", pack(lc48...), aac.Config{ObjectType: 2, Rate: 48000, OutputRate: 48000, Channels: 2, Samples: 1024}, nil},
		{"960 samples", pack(field{5, 2}, field{4, 3}, field{4, 2}, field{3, 4}),
			aac.Config{ObjectType: 2, Rate: 48000, OutputRate: 48000, Channels: 2, Samples: 960}, nil},
		{"a rate in words, 7.1", pack(field{5, 2}, field{4, 15}, field{24, 44100}, field{4, 7}, field{3, 0}),
			aac.Config{ObjectType: 2, Rate: 44100, OutputRate: 44100, Channels: 8, Samples: 1024}, nil},
		{"SBR", pack(explicit...), aac.Config{ObjectType: 2, Rate: 24000, OutputRate: 48000, Channels: 2, Samples: 1024, SBR: true}, nil},
		{"parametric stereo", pack(stereo...),
			aac.Config{ObjectType: 2, Rate: 24000, OutputRate: 48000, Channels: 1, Samples: 1024, SBR: true, PS: true}, nil},
		{"SBR behind", pack(join([]field{{5, 2}, {4, 6}, {4, 2}, {3, 0}}, []field{{11, 0x2B7}, {5, 5}, {1, 1}, {4, 3}})...),
			aac.Config{ObjectType: 2, Rate: 24000, OutputRate: 48000, Channels: 2, Samples: 1024, SBR: true}, nil},
		{"SBR and PS behind", pack(join([]field{{5, 2}, {4, 6}, {4, 1}, {3, 0}},
			[]field{{11, 0x2B7}, {5, 5}, {1, 1}, {4, 3}, {11, 0x548}, {1, 1}})...),
			aac.Config{ObjectType: 2, Rate: 24000, OutputRate: 48000, Channels: 1, Samples: 1024, SBR: true, PS: true}, nil},
		{"SBR behind, and not there", pack(join(lc48, []field{{11, 0x2B7}, {5, 5}, {1, 0}})...),
			aac.Config{ObjectType: 2, Rate: 48000, OutputRate: 48000, Channels: 2, Samples: 1024}, nil},
		{"a program_config_element", pack(elements...),
			aac.Config{ObjectType: 2, Rate: 48000, OutputRate: 48000, Channels: 4, Samples: 1024}, nil},
		{"USAC", pack(field{5, 31}, field{6, 10}, field{4, 3}, field{4, 2}, field{20, 0}), aac.Config{}, aac.ErrUnsupported},
		{"a reserved rate", pack(field{5, 2}, field{4, 13}, field{4, 2}, field{3, 0}), aac.Config{}, aac.ErrSyntax},
		{"channels of the future", pack(field{5, 2}, field{4, 3}, field{4, 12}, field{3, 0}), aac.Config{}, aac.ErrUnsupported},
		{"cut short", pack(lc48...)[:1], aac.Config{}, aac.ErrSyntax},
		{"nothing", nil, aac.Config{}, aac.ErrSyntax},
	}
}

func TestParseConfig(t *testing.T) {
	for _, c := range configCases() {
		got, err := aac.ParseConfig(c.data)
		if !errors.Is(err, c.err) || err == nil && got != c.want {
			t.Errorf("%s: got %+v, %v, want %+v, %v", c.name, got, err, c.want, c.err)
		}
	}
}

// mux is a StreamMuxConfig of version 0 with so many frames an element.
func mux(version, frames int, config []field) []field {
	m := []field{{1, version}}
	if version == 1 {
		m = append(m, field{1, 0}, field{2, 0}, field{8, 255})
	}
	m = append(m, field{1, 1}, field{6, frames - 1}, field{4, 0}, field{3, 0})
	if version == 1 { // its length, with three bits of filling
		n := 3
		for _, f := range config {
			n += f.n
		}
		m = join(m, []field{{2, 0}, {8, n}}, config, []field{{3, 0}})
	} else {
		m = join(m, config)
	}
	m = append(m, field{3, 0}, field{8, 255})
	if version == 1 {
		return append(m, field{1, 1}, field{2, 1}, field{16, 300}, field{1, 1}, field{8, 0})
	}
	return append(m, field{1, 1}, field{1, 1}, field{8, 1}, field{1, 0}, field{8, 2}, field{1, 1}, field{8, 0})
}

func frameOf(data string) (f []field) {
	n := len(data)
	for ; n >= 255; n -= 255 {
		f = append(f, field{8, 255})
	}
	f = append(f, field{8, n})
	for _, c := range []byte(data) {
		f = append(f, field{8, int(c)})
	}
	return f
}

type elementCase struct {
	name   string
	data   []byte
	config []byte
	frames []string
	err    error
}

func elementCases() []elementCase {
	with := func(m []field, frames ...string) []byte {
		f := join([]field{{1, 0}}, m)
		for _, s := range frames {
			f = append(f, frameOf(s)...)
		}
		return pack(f...)
	}
	long := string(bytes.Repeat([]byte("0123456789"), 60))
	return []elementCase{
		{"one frame", with(mux(0, 1, lc48), "frame"), pack(lc48...), []string{"frame"}, nil},
		{"three frames, one of them long", with(mux(0, 3, explicit), "a", long, ""), pack(explicit...), []string{"a", long, ""}, nil},
		{"version 1", with(mux(1, 2, lc48), "one", "two"), pack(lc48...), []string{"one", "two"}, nil},
		{"version 1 with SBR behind", with(mux(1, 1, join(lc48, []field{{11, 0x2B7}, {5, 5}, {1, 1}, {4, 0}})), "x"),
			pack(join(lc48, []field{{11, 0x2B7}, {5, 5}, {1, 1}, {4, 0}})...), []string{"x"}, nil},
		{"a program_config_element", with(mux(0, 1, elements), "x"), pack(elements...), []string{"x"}, nil},
		{"the same at another bit", with(mux(1, 1, elements), "x"), pack(elements...), []string{"x"}, nil},
		{"frames of one length", pack(join([]field{{1, 0}, {1, 0}, {1, 1}, {6, 0}, {4, 0}, {3, 0}}, lc48,
			[]field{{3, 1}, {9, 0}, {1, 0}, {1, 0}}, frameOf("twenty bytes of them")[1:])...), pack(lc48...), []string{"twenty bytes of them"}, nil},
		{"a frame that is not all here", with(mux(0, 2, lc48), "one"), pack(lc48...), []string{"one"}, aac.ErrSyntax},
		{"two programs", pack(field{1, 0}, field{1, 0}, field{1, 1}, field{6, 0}, field{4, 1}, field{20, 0}), nil, nil, aac.ErrUnsupported},
		{"two layers", pack(field{1, 0}, field{1, 0}, field{1, 1}, field{6, 0}, field{4, 0}, field{3, 1}, field{20, 0}), nil, nil, aac.ErrUnsupported},
		{"unlike framing", pack(field{1, 0}, field{1, 0}, field{1, 0}, field{30, 0}), nil, nil, aac.ErrUnsupported},
		{"audioMuxVersionA", pack(field{1, 0}, field{2, 3}, field{30, 0}), nil, nil, aac.ErrUnsupported},
		{"CELP", pack(join([]field{{1, 0}, {1, 0}, {1, 1}, {13, 0}}, lc48, []field{{3, 4}, {30, 0}})...), nil, nil, aac.ErrUnsupported},
		{"cut short", with(mux(0, 1, lc48))[:4], nil, nil, aac.ErrSyntax},
	}
}

func TestParseElement(t *testing.T) {
	for _, c := range elementCases() {
		e, err := aac.ParseElement(c.data, aac.Mux{})
		var frames []string
		for err == nil && len(frames) < e.Mux.SubFrames {
			var b []byte
			if b, err = e.Next(nil); err == nil {
				frames = append(frames, string(b))
			}
		}
		if !errors.Is(err, c.err) || len(frames) != len(c.frames) {
			t.Errorf("%s: got %q, %v, want %q, %v", c.name, frames, err, c.frames, c.err)
			continue
		}
		for i := range frames {
			if frames[i] != c.frames[i] {
				t.Errorf("%s: frame %d is %q, want %q", c.name, i, frames[i], c.frames[i])
			}
		}
		if got := e.Mux.Specific(); c.config != nil && !bytes.Equal(got, c.config) {
			t.Errorf("%s: AudioSpecificConfig % x, want % x", c.name, got, c.config)
		}
	}
}

// TestSameMux: an element without its own StreamMuxConfig is under the one before.
func TestSameMux(t *testing.T) {
	first, err := aac.ParseElement(elementCases()[0].data, aac.Mux{})
	if err != nil || !first.HasMux {
		t.Fatalf("%+v, %v", first, err)
	}
	e, err := aac.ParseElement(pack(append([]field{{1, 1}}, frameOf("next")...)...), first.Mux)
	if err != nil || e.HasMux || e.Mux != first.Mux {
		t.Fatalf("%+v, %v", e, err)
	}
	if got, err := e.Next([]byte("a ")); err != nil || string(got) != "a next" {
		t.Errorf("got %q, %v", got, err)
	}
}

// FuzzConfig holds I1 and I2.
func FuzzConfig(f *testing.F) {
	for _, c := range configCases() {
		f.Add(c.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := aac.ParseConfig(data)
		checkConfig(t, c, err)
		specific, _ := aac.ProgramConfig(2, 3, data)
		if c, err := aac.ParseConfig(specific); err != nil || c.Rate != 48000 {
			t.Fatalf("%x: %+v, %v", specific, c, err)
		}
	})
}

// FuzzElement holds I1 and I2.
func FuzzElement(f *testing.F) {
	for _, c := range elementCases() {
		f.Add(c.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := aac.ParseElement(data, aac.Mux{SubFrames: 1})
		if checkConfig(t, e.Mux.Config, err); err != nil {
			return
		}
		if n := len(e.Mux.Specific()); e.HasMux && (n == 0 || n > aac.MaxConfig) {
			t.Fatalf("a configuration of %d bytes", n)
		}
		if e.HasMux {
			again, err := aac.ParseConfig(e.Mux.Specific())
			if err != nil || again.Rate != e.Mux.Config.Rate || again.Channels != e.Mux.Config.Channels {
				t.Fatalf("%+v becomes %+v, %v", e.Mux.Config, again, err)
			}
		}
		var all []byte
		for range e.Mux.SubFrames {
			if all, err = e.Next(all); err != nil {
				if !errors.Is(err, aac.ErrSyntax) {
					t.Fatal(err)
				}
				break
			}
		}
		if len(all) > len(data) {
			t.Fatalf("%d bytes of %d", len(all), len(data))
		}
	})
}

func checkConfig(t *testing.T, c aac.Config, err error) {
	t.Helper()
	if err != nil {
		if !errors.Is(err, aac.ErrSyntax) && !errors.Is(err, aac.ErrUnsupported) {
			t.Fatal(err)
		}
		return
	}
	if c != (aac.Config{}) && (c.Rate <= 0 || c.OutputRate <= 0 || c.Samples != 1024 && c.Samples != 960 || c.Channels < 0) {
		t.Fatalf("configuration %+v", c)
	}
}

// TestProgramConfig: the channels that a frame tells itself are those of the configuration, without the comment; where it
// tells none, there are two.
func TestProgramConfig(t *testing.T) {
	element := elements[4:] // behind the AudioSpecificConfig's own fields
	block := pack(join([]field{{3, 5}}, element, []field{{3, 0}, {29, 0x1234567}})...)
	plain := pack(join(elements[:len(elements)-2], []field{{8, 0}})...)
	dual := pack(field{5, 2}, field{4, 3}, field{4, 0}, field{3, 0}, field{4, 0}, field{2, 1}, field{4, 3}, field{4, 2}, field{20, 0},
		field{1, 0}, field{4, 0}, field{1, 0}, field{4, 1}, field{4, 0}, field{8, 0})
	for _, c := range []struct {
		name     string
		block    []byte
		want     []byte
		told     bool
		channels int
	}{
		{"told", block, plain, true, 4},
		{"not told", pack(field{3, 0}, field{29, 0x1234567}), dual, false, 2},
		{"cut short", block[:6], dual, false, 2},
		{"nothing", nil, dual, false, 2},
	} {
		got, told := aac.ProgramConfig(2, 3, c.block)
		if !bytes.Equal(got, c.want) || told != c.told {
			t.Errorf("%s: got %x, %v, want %x", c.name, got, told, c.want)
		}
		if config, err := aac.ParseConfig(got); err != nil || config.Channels != c.channels || config.ObjectType != 2 || config.Rate != 48000 {
			t.Errorf("%s: it says %+v, %v", c.name, config, err)
		}
	}
}
