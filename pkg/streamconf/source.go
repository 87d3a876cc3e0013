package streamconf

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const (
	// MaxFound bounds the streams of all sources together: what a peer claims must not be able to make any number.
	MaxFound = 2000
	// MaxVia is over how many nodes a stream may come.
	MaxVia = 8
)

// Source is a peer of which every stream is taken, from it alone.
type Source struct {
	M4F    M4F // without a stream
	DVR    DVR // of each of them
	Except []string
	// Found is what the peer has, by name. No file says it: the gateway is told, and its word goes on to the others.
	Found []Found
}

// Found is a stream of a source.
type Found struct {
	Name string
	Via  []string // ids of the nodes over which the peer has it, the first one first, the peer last
}

// Addr names the source: HOST:PORT.
func (s Source) Addr() string { return s.M4F.Addr() }

// Equal says whether two sources mean the same.
func (s Source) Equal(o Source) bool {
	return s.M4F == o.M4F && s.DVR == o.DVR && slices.Equal(s.Except, o.Except) && slices.EqualFunc(s.Found, o.Found, Found.Equal)
}

// Equal says whether two are the same.
func (f Found) Equal(o Found) bool { return f.Name == o.Name && slices.Equal(f.Via, o.Via) }

// String is the source's block in canonical form.
func (s Source) String() string {
	var b strings.Builder
	addr := s.Addr()
	if s.M4F.TLS {
		addr = "m4fs://" + addr
	}
	fmt.Fprintf(&b, "source %s {\n  %s;\n", addr, s.DVR)
	if len(s.Except) > 0 {
		fmt.Fprintf(&b, "  except %s;\n", strings.Join(s.Except, " "))
	}
	for _, f := range s.Found {
		fmt.Fprintf(&b, "  found %s;\n", strings.Join(append([]string{f.Name}, f.Via...), " "))
	}
	b.WriteString("}\n")
	return b.String()
}

// nodeName is what a node id looks like.
var nodeName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// CheckFound says why a stream of a peer's cannot be taken, or nil.
func CheckFound(f Found) error {
	if err := CheckName(f.Name); err != nil {
		return err
	}
	if len(f.Via) == 0 || len(f.Via) > MaxVia {
		return fmt.Errorf("stream %s comes over %d nodes; 1 to %d are allowed", f.Name, len(f.Via), MaxVia)
	}
	for _, n := range f.Via {
		if !nodeName.MatchString(n) {
			return fmt.Errorf("stream %s comes over node %q, which is no node id", f.Name, clip(n))
		}
	}
	return nil
}

// Source finds a source by its HOST:PORT.
func (c *Config) Source(addr string) (Source, bool) {
	i := slices.IndexFunc(c.Sources, func(s Source) bool { return s.Addr() == addr })
	if i < 0 {
		return Source{}, false
	}
	return c.Sources[i], true
}

// WithFound is the config with what its sources have, by HOST:PORT.
func (c *Config) WithFound(found map[string][]Found) *Config {
	out := *c
	out.Sources = slices.Clone(c.Sources)
	for i := range out.Sources {
		out.Sources[i].Found = found[out.Sources[i].Addr()]
	}
	out.expand()
	return &out
}

// Taken says which of what a source has is a stream here, and which is not since another stream has its name, or there are too
// many.
func (c *Config) Taken(addr string) (taken, named, over []string) {
	src, _ := c.Source(addr)
	for _, f := range src.Found {
		st, ok := c.Stream(f.Name)
		switch {
		case slices.Contains(src.Except, f.Name):
		case !ok:
			over = append(over, f.Name)
		case st.Source == addr:
			taken = append(taken, f.Name)
		default:
			named = append(named, f.Name)
		}
	}
	return taken, named, over
}

// expand makes the streams of the sources, behind the config's own. A name that is taken stays what it is.
func (c *Config) expand() {
	own := slices.DeleteFunc(slices.Clone(c.Streams), func(s Stream) bool { return s.Source != "" })
	seen := make(map[string]bool, len(own))
	for _, s := range own {
		seen[s.Name] = true
	}
	c.Streams = own
	left := MaxFound
	for _, src := range c.Sources {
		for _, f := range src.Found {
			if seen[f.Name] || slices.Contains(src.Except, f.Name) || left == 0 {
				continue
			}
			seen[f.Name], left = true, left-1
			m := src.M4F
			m.Stream = f.Name
			c.Streams = append(c.Streams, Stream{
				Name: f.Name, DVR: src.DVR, Source: src.Addr(), Via: f.Via,
				Inputs: []Input{{Kind: KindM4F, M4F: m, Priority: 1, SourceTimeout: DefaultSourceTimeout}},
			})
		}
	}
}

// source reads source HOST { dvr PATH 20d replicate; except NAME; }.
func (b *builder) source(s statement) {
	const form = `write "source HOST:PORT { dvr PATH DURATION replicate; }"`
	at := s.words[0].pos
	if !s.hasBlock || len(s.words) != 2 {
		b.add(at, "source has one address and a block", form)
		return
	}
	text := s.words[1].text
	if !strings.Contains(text, "://") {
		text = "m4f://" + text
	}
	m, err := ParseM4F(text, "")
	if err != nil || m.Stream != "" {
		b.add(s.words[1].pos, fmt.Sprintf("%q is not the address of a server", clip(s.words[1].text)), form)
		return
	}
	src := Source{M4F: m}
	if _, twice := b.conf.Source(src.Addr()); twice {
		b.add(s.words[1].pos, fmt.Sprintf("source %s is given twice", src.Addr()), "keep one")
	}
	given := map[string]bool{}
	for _, x := range s.block {
		word := x.words[0]
		b.noBlock(x)
		if given[word.text] && word.text != "found" {
			b.add(word.pos, fmt.Sprintf("%q is given twice", clip(word.text)), "keep one")
		}
		given[word.text] = true
		switch word.text {
		case "dvr":
			src.DVR = b.dvr(x)
		case "except":
			src.Except = append(src.Except, b.names(x)...)
		case "found":
			b.found(&src, x)
		default:
			b.unknown(word, "directive", laterStream, `the directives of a source are "dvr" and "except"`)
		}
	}
	if !given["dvr"] {
		b.add(at, "the source has no dvr", form)
	}
	b.conf.Sources = append(b.conf.Sources, src)
}

// names reads the names of streams behind the first word.
func (b *builder) names(s statement) (out []string) {
	if len(s.words) == 1 {
		b.add(s.words[0].pos, fmt.Sprintf("%q names no stream", s.words[0].text), `write "except NAME NAME;"`)
	}
	for _, w := range s.words[1:] {
		if what, do := nameProblem(clip(w.text)); what != "" {
			b.add(w.pos, what, do)
			continue
		}
		out = append(out, w.text)
	}
	return out
}

// found reads what a peer has out of a text that was made of a config.
func (b *builder) found(src *Source, s statement) {
	f := Found{}
	for i, w := range s.words[1:] {
		if i == 0 {
			f.Name = w.text
		} else {
			f.Via = append(f.Via, w.text)
		}
	}
	switch {
	case !b.copied:
		b.add(s.words[0].pos, "what a source has is not written, it is asked", "remove it")
	case CheckFound(f) != nil || len(src.Found) >= MaxFound:
		b.add(s.words[0].pos, "that cannot be a stream of a source", "remove it")
	default:
		src.Found = append(src.Found, f)
	}
}
