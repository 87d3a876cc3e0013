package streamconf

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// MinKey is the least length of a cluster key: whoever sees a proof may try keys as fast as they can hash.
	MinKey = 16
	// DefaultM4FPort is the port of an m4f URL that names none.
	DefaultM4FPort = 7000
	// DefaultDVRPort is the port of a storage's server that names none.
	DefaultDVRPort = 7002
	// DefaultSourceTimeout is how long an input may stand still before it is left.
	DefaultSourceTimeout = 3 * time.Second
)

// Config is one valid stream config. The zero value is the empty config.
type Config struct {
	ClusterKey Secret    // empty: none configured
	Storages   []Storage // named ones, in the order of the file, names unique
	Streams    []Stream  // in the order of the file, names unique; behind them those of Sources
	Speed      Speed     // of all that is fetched from peers; empty: what replsvc is told
	Peers      []Peer    // in the order of the file, addresses unique
	Sources    []Source  // in the order of the file, addresses unique
}

// Storage is a place for archives that streams refer to by name.
type Storage struct {
	Name   string
	Root   string // as DVR.Path
	Server string // HOST:PORT of the dvrsvc that has it; empty: the site's own
	Limit  Limit  // of all that is in it
}

// Limit bounds what is kept beside its age: where it is exceeded the oldest goes. The zero value: no bound.
type Limit struct {
	Bytes   int64 // of data files; 0: any number
	Percent int   // of the file system that may be in use, by whomever; 0: all
}

// Stream is one TV service: where it comes from and where it is kept.
type Stream struct {
	Name   string
	Inputs []Input // best first: by priority, then by order in the file; at least one
	DVR    DVR
	// Readers are the ids of the nodes that may read it over M4F, sorted; nil: each may.
	Readers []string
	Source  string   // HOST:PORT of the Source that has it; empty: it is the config's own
	Via     []string // with Source: as Found.Via
}

// Input is one source of a stream. Inputs are comparable; [Input.URL] is unique within a stream.
type Input struct {
	Kind          Kind
	UDP           UDP       // when Kind is KindUDP
	Second        UDP       // its other leg; the zero value: it has one
	File          File      // when Kind is KindFile
	HTTP          HTTP      // when Kind is KindHTTP
	SRT           SRT       // when Kind is KindSRT
	Take          Selection // of what does not come from a peer
	M4F           M4F       // when Kind is KindM4F
	Priority      int       // 1 is best; the place in the file unless given
	SourceTimeout time.Duration
	Standby       Standby
	Quality       Quality // of inputs that are received here
}

// Kind says which protocol an input speaks.
type Kind uint8

// The kinds of input.
const (
	KindUDP Kind = iota + 1
	KindM4F
	KindFile
	KindHTTP
	KindSRT
)

// Standby says what an input does while a better one is active.
type Standby uint8

// The kinds of standby.
const (
	Hot  Standby = iota // keeps receiving
	Cold                // joins only when it is needed
)

// String is the word of the language.
func (s Standby) String() string {
	if s == Cold {
		return "cold"
	}
	return "hot"
}

// M4F is a stream of a peer.
type M4F struct {
	Host   string // name or IPv4 address
	Port   uint16
	Stream string // the peer's name of the stream
	TLS    bool   // m4fs
}

// Addr is HOST:PORT, to dial.
func (m M4F) Addr() string { return m.Host + ":" + strconv.Itoa(int(m.Port)) }

// Scheme is the first word of the URL.
func (m M4F) Scheme() string {
	if m.TLS {
		return "m4fs"
	}
	return "m4f"
}

// String is the canonical URL.
func (m M4F) String() string { return m.Scheme() + "://" + m.Addr() + "/" + m.Stream }

// DVR says where and how long a stream is kept.
type DVR struct {
	Storage   string        // name of a storage, of which the next two are; empty: none
	Server    string        // HOST:PORT of the dvrsvc that records the stream; empty: the site's own
	Path      string        // relative: under the data directory of dvrsvc
	Retention time.Duration // whole seconds; 0: by the limits alone, of which there is one then
	Limit     Limit         // of this stream
	Replicate bool          // fetch from peers what is missing here
	Pull      bool          // with Replicate: and give them nothing
	Speed     Speed         // of what is fetched of the stream
	// ReplicationPort is where the archive is fetched from peers; 0: the port of the m4f URL.
	ReplicationPort uint16
}

// URL is the canonical URL, without options: the identity of an input within its stream. It shows in logs, metrics and
// lists, so no secret is in it (HTTP.String).
func (in Input) URL() string {
	switch in.Kind {
	case KindM4F:
		return in.M4F.String()
	case KindFile:
		return "file://" + in.File.Path + in.Take.fragment()
	case KindSRT:
		return in.SRT.String() + in.Take.fragment()
	case KindHTTP:
		return in.HTTP.String() + in.Take.fragment()
	}
	return in.udpURL()
}

// source is the URL as the config has it.
func (in Input) source() string {
	if in.Kind == KindHTTP {
		return in.HTTP.URL + in.Take.fragment()
	}
	return in.URL()
}

// Peers are the m4f inputs, best first: every one of them is an archive source, active or not.
func (s Stream) Peers() []M4F {
	var peers []M4F
	for _, in := range s.Inputs {
		if in.Kind == KindM4F {
			peers = append(peers, in.M4F)
		}
	}
	return peers
}

// Equal says whether two streams mean the same.
func (s Stream) Equal(o Stream) bool {
	return s.Name == o.Name && s.DVR == o.DVR && slices.Equal(s.Inputs, o.Inputs) && s.Source == o.Source &&
		slices.Equal(s.Via, o.Via) && slices.Equal(s.Readers, o.Readers)
}

// Equal says whether two configs mean the same, whatever the order of their streams.
func (c *Config) Equal(o *Config) bool { return Diff(c, o).Empty() }

// Stream finds a stream by name.
func (c *Config) Stream(name string) (Stream, bool) {
	i := slices.IndexFunc(c.Streams, func(s Stream) bool { return s.Name == name })
	if i < 0 {
		return Stream{}, false
	}
	return c.Streams[i], true
}

// Changes is what differs between two configs, each list by name.
type Changes struct {
	Added, Removed []Stream
	Changed        []Change
	ClusterKey     bool // the cluster key differs
	Replication    bool // limits of the server or of peers differ
	Storages       bool // named storages differ, whether or not a stream is in them
}

// Change is one stream before and after.
type Change struct{ Old, New Stream }

// Empty says that the two configs mean the same.
func (c Changes) Empty() bool {
	return len(c.Added)+len(c.Removed)+len(c.Changed) == 0 && !c.ClusterKey && !c.Replication && !c.Storages
}

// Diff finds what must be touched to come from one config to another. A nil config is the empty one.
func Diff(from, to *Config) Changes {
	if from == nil {
		from = &Config{}
	}
	if to == nil {
		to = &Config{}
	}
	before := make(map[string]Stream, len(from.Streams))
	for _, s := range from.Streams {
		before[s.Name] = s
	}
	c := Changes{
		ClusterKey:  from.ClusterKey != to.ClusterKey,
		Replication: from.Speed != to.Speed || !slices.Equal(from.Peers, to.Peers) || !slices.EqualFunc(from.Sources, to.Sources, Source.Equal),
		Storages:    !slices.Equal(from.Storages, to.Storages),
	}
	for _, s := range to.Streams {
		was, ok := before[s.Name]
		delete(before, s.Name)
		switch {
		case !ok:
			c.Added = append(c.Added, s)
		case !was.Equal(s):
			c.Changed = append(c.Changed, Change{Old: was, New: s})
		}
	}
	for _, s := range before {
		c.Removed = append(c.Removed, s)
	}
	byName := func(a, b Stream) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortFunc(c.Added, byName)
	slices.SortFunc(c.Removed, byName)
	slices.SortFunc(c.Changed, func(a, b Change) int { return byName(a.New, b.New) })
	return c
}

// String is the canonical form with secrets masked, for people and logs.
func (c *Config) String() string { return c.print(c.ClusterKey.String(), false) }

// Canonical is the one source text of what the config means, with secrets in clear: for files, never for logs.
func (c *Config) Canonical() string { return c.print(string(c.ClusterKey), true) }

// Revision names what a config means: another spelling has the same, and so has another cluster key, since whoever sees
// the revision and all the rest could try keys with it.
func (c *Config) Revision() string {
	sum := sha256.Sum256([]byte(c.String()))
	return hex.EncodeToString(sum[:8])
}

func (c *Config) print(key string, clear bool) string {
	var b strings.Builder
	if key != "" {
		fmt.Fprintf(&b, "cluster_key %s;\n", quote(key))
	}
	if c.Speed != "" {
		fmt.Fprintf(&b, "replication_speed %s;\n", c.Speed)
	}
	block := func(s string) {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(s)
	}
	for _, s := range c.Storages {
		block(s.String())
	}
	for _, p := range c.Peers {
		block(p.String())
	}
	for _, s := range c.Sources {
		block(s.String())
	}
	for _, s := range c.Streams {
		if s.Source == "" {
			block(s.print(clear))
		}
	}
	return b.String()
}

// String is the storage's block in canonical form.
func (s Storage) String() string {
	server := ""
	if s.Server != "" {
		server = fmt.Sprintf("  server %s;\n", quote(s.Server))
	}
	if s.Limit != (Limit{}) {
		server += fmt.Sprintf("  disk_limit%s;\n", s.Limit)
	}
	return fmt.Sprintf("dvr %s {\n  root %s;\n%s}\n", s.Name, quote(s.Root), server)
}

// String is the stream's block in canonical form, with secrets masked.
func (s Stream) String() string { return s.print(false) }

// Canonical is String with the passphrases, for what is read again.
func (s Stream) Canonical() string { return s.print(true) }

func (s Stream) print(clear bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "stream %s {\n", s.Name)
	for i, in := range s.Inputs {
		fmt.Fprintf(&b, "  input %s", quote(in.source()))
		if in.Priority != i+1 {
			fmt.Fprintf(&b, " priority=%d", in.Priority)
		}
		if in.SourceTimeout != DefaultSourceTimeout {
			fmt.Fprintf(&b, " source_timeout=%s", FormatDuration(in.SourceTimeout))
		}
		if in.Standby != Hot {
			fmt.Fprintf(&b, " standby=%s", in.Standby)
		}
		if p := in.SRT.Passphrase; p != "" {
			text := mask
			if clear {
				text = string(p)
			}
			fmt.Fprintf(&b, " passphrase=%s", quote(text))
		}
		if in.File.Loop {
			b.WriteString(" loop=yes")
		}
		b.WriteString(in.Quality.String())
		b.WriteString(";\n")
	}
	fmt.Fprintf(&b, "  %s;\n", s.DVR)
	if len(s.Readers) > 0 {
		fmt.Fprintf(&b, "  readers %s;\n", strings.Join(s.Readers, " "))
	}
	b.WriteString("}\n")
	return b.String()
}

// String is the statement in canonical form, without its end.
func (d DVR) String() string {
	var b strings.Builder
	place := d.Path
	if d.Storage != "" {
		place = "@" + d.Storage
	}
	fmt.Fprintf(&b, "dvr %s", quote(place))
	if d.Retention > 0 {
		fmt.Fprintf(&b, " %s", FormatDuration(d.Retention))
	}
	b.WriteString(d.Limit.String())
	switch {
	case d.Pull:
		b.WriteString(" replicate=pull")
	case d.Replicate:
		b.WriteString(" replicate")
	}
	if d.Speed != "" {
		fmt.Fprintf(&b, " replication_speed=%s", d.Speed)
	}
	if d.ReplicationPort != 0 {
		fmt.Fprintf(&b, " replication_port=%d", d.ReplicationPort)
	}
	return b.String()
}

// quote writes a word so that the lexer reads it back as it is.
func quote(w string) string {
	if w != "" && !strings.ContainsAny(w, " \t\r;{}\"\\") && w[0] != '#' {
		return w
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(w) + `"`
}

// Secret is a string that no log and no %v shows.
type Secret string

const mask = "***"

// Masked stands for a secret that was withheld.
const Masked = Secret(mask)

// String is the mask, or nothing when there is no secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// GoString keeps %#v from showing it.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// LogValue keeps slog from showing it.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps encoders from showing it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

var streamName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// ReservedNames cannot name a stream: the HTTP face uses them as the first part of a path.
func ReservedNames() []string {
	return []string{"api", "streamer", "metrics", "healthz", "readyz", "ui"}
}

// Reads reports whether a node may read the stream over M4F.
func (s *Stream) Reads(node string) bool {
	return len(s.Readers) == 0 || slices.Contains(s.Readers, node)
}

// CheckName says why a name cannot be that of a stream, or nil. Names from peers and URLs pass through it too: a name
// becomes a directory.
func CheckName(name string) error {
	if what, do := nameProblem(name); what != "" {
		return fmt.Errorf("%s; %s", what, do)
	}
	return nil
}

func nameProblem(name string) (what, do string) {
	switch {
	case !streamName.MatchString(name):
		return fmt.Sprintf("stream name %q is not allowed", name), "use 1 to 64 of the characters A-Z a-z 0-9 _ -"
	case slices.Contains(ReservedNames(), name):
		return fmt.Sprintf("stream name %q is reserved for the HTTP interface", name), "choose another name"
	}
	return "", ""
}
