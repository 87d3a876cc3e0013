package streamconf

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// directives are the words that begin a statement. At the start of a line they show where a ";" was forgotten.
var directives = []string{"cluster_key", "stream", "input", "dvr", "peer", "source", "replication_speed"}

// Words that are planned, so that their authors learn that the word is right and the version is early.
var (
	laterTop    = []string{"template", "include", "auth", "view_auth", "edit_auth", "listen", "http", "https", "cache"}
	laterStream = []string{"template", "remotes", "backup", "title", "disabled", "push", "transcoder", "auth", "on_play", "segment_duration"}
	laterInput  = []string{"fec", "bind", "latency", "cluster_key", "source_address"}
	laterDVR    = []string{"schedule", "copy", "episodes", "index"}
	laterScheme = []string{"hls", "rtmp", "rtsp", "rist", "fake", "timeshift", "publish", "playlist", "m4s", "mpegts"}
)

const (
	minTimeout, maxTimeout     = time.Second, time.Hour
	minRetention, maxRetention = time.Second, 100 * 365 * 24 * time.Hour
	maxPriority                = 1000
)

// builder gives the statements their meaning.
type builder struct {
	*reporter
	copied   bool // secrets may be masked: the text was made from a config that lacks them
	conf     *Config
	keyPos   Position
	seen     map[string]Position
	storages map[string]Storage
	defined  map[string]Position // of storages, where they are in this text
}

// build reads statements. storages are those that are known already.
func build(r *reporter, list []statement, storages []Storage, copied bool) *Config {
	b := &builder{
		reporter: r, copied: copied, conf: &Config{}, seen: map[string]Position{}, storages: map[string]Storage{}, defined: map[string]Position{},
	}
	for _, s := range storages {
		b.storages[s.Name] = s
	}
	for _, s := range list { // a stream may stand before the storage that it names
		if s.words[0].text == "dvr" {
			b.storage(s)
		}
	}
	for _, s := range list {
		if isSpeed(s) {
			b.serverSpeed(s)
			continue
		}
		switch word := s.words[0]; word.text {
		case "peer":
			b.peer(s)
		case "source":
			b.source(s)
		case "cluster_key":
			b.clusterKey(s)
		case "stream":
			b.stream(s)
		case "dvr":
		case "input":
			b.add(word.pos, `"input" stands outside of a stream`, `move it into "stream NAME { ... }"`)
		default:
			b.unknown(word, "directive", laterTop, `the directives here are "stream", "source", "dvr", "peer", "replication_speed" and "cluster_key"`)
		}
	}
	b.conf.expand()
	return b.conf
}

// unknown refuses a word, and tells those that are planned from those that are wrong.
func (b *builder) unknown(t token, noun string, later []string, do string) {
	word, _, _ := strings.Cut(t.text, "=")
	if slices.Contains(later, word) {
		b.add(t.pos, fmt.Sprintf("%s %q is not supported yet", noun, word), "remove it")
		return
	}
	b.add(t.pos, fmt.Sprintf("unknown %s %q", noun, clip(word)), do)
}

// clip keeps a message to one readable line, whatever was in the file.
func clip(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:80]) + "..."
	}
	return s
}

// noBlock refuses a block where a statement has none.
func (b *builder) noBlock(s statement) {
	if s.hasBlock {
		b.add(s.words[0].pos, fmt.Sprintf("%q takes no block in braces", s.words[0].text), `end it with ";"`)
	}
}

func (b *builder) clusterKey(s statement) {
	b.noBlock(s)
	at := s.words[0].pos
	switch {
	case len(s.words) != 2:
		b.add(at, "cluster_key takes one word", `write "cluster_key KEY;", in quotes if it has spaces`)
	case strings.TrimSpace(s.words[1].text) == "":
		b.add(at, "cluster_key is empty", "give a key or remove the line")
	case s.words[1].text == mask:
		b.add(at, "cluster_key is a masked key, as printed in logs", "put the key itself here")
	case len(strings.TrimSpace(s.words[1].text)) < MinKey:
		b.add(at, fmt.Sprintf("cluster_key has less than %d characters", MinKey), "make one with: openssl rand -hex 32")
	case b.conf.ClusterKey != "":
		b.add(at, fmt.Sprintf("cluster_key is given twice, first in line %d", b.keyPos.Line), "keep one")
	default:
		b.conf.ClusterKey, b.keyPos = Secret(s.words[1].text), at
	}
}

// storage reads dvr NAME { root PATH; server HOST:PORT; disk_limit 500G 90%; }.
func (b *builder) storage(s statement) {
	at := s.words[0].pos
	const form = `write "dvr NAME { root PATH; server HOST:7002; }"`
	if !s.hasBlock || len(s.words) != 2 {
		b.add(at, "dvr outside of a stream is a named storage: it has one name and a block", form)
		return
	}
	st := Storage{Name: s.words[1].text}
	if !streamName.MatchString(st.Name) {
		b.add(s.words[1].pos, fmt.Sprintf("storage name %q is not allowed", clip(st.Name)), "use 1 to 64 of the characters A-Z a-z 0-9 _ -")
	}
	if first, twice := b.defined[st.Name]; twice {
		b.add(s.words[1].pos, fmt.Sprintf("storage %q is defined twice, first in line %d", clip(st.Name), first.Line), "rename or remove one")
	}
	b.defined[st.Name] = s.words[1].pos
	given := map[string]bool{}
	for _, x := range s.block {
		word := x.words[0]
		b.noBlock(x)
		switch {
		case given[word.text]:
			b.add(word.pos, fmt.Sprintf("%q is given twice", clip(word.text)), "keep one")
		case word.text == "disk_limit":
			b.diskLimit(&st.Limit, x)
		case word.text != "root" && word.text != "server":
			b.unknown(word, "directive", laterDVR, `the directives of a storage are "root", "server" and "disk_limit"`)
		case len(x.words) != 2:
			b.add(word.pos, fmt.Sprintf("%q takes one word", word.text), form)
		case word.text == "root":
			st.Root = b.dvrPath(x.words[1])
		default:
			st.Server = b.server(x.words[1])
		}
		given[word.text] = true
	}
	if !given["root"] {
		b.add(at, "the storage has no root", form)
	}
	b.storages[st.Name] = st
	b.conf.Storages = append(b.conf.Storages, st)
}

const limitForms = "write a size as 500G, or a share of the disk as 90%, or both"

func (b *builder) diskLimit(l *Limit, s statement) {
	if len(s.words) == 1 {
		b.add(s.words[0].pos, "disk_limit is empty", limitForms)
	}
	for _, w := range s.words[1:] {
		what := fmt.Sprintf("%q is no limit", clip(w.text))
		if isLimit(w.text) {
			what = l.set(w.text)
		}
		if what != "" {
			b.add(w.pos, what, limitForms)
		}
	}
}

// server reads HOST:PORT of a dvrsvc, or HOST.
func (b *builder) server(w token) string {
	host, port, hasPort := strings.Cut(strings.ToLower(w.text), ":")
	n := uint16(DefaultDVRPort)
	if hasPort {
		var ok bool
		if n, ok = parsePort(port); !ok {
			b.add(w.pos, fmt.Sprintf("port %q is not a number from 1 to 65535", clip(port)), "write server HOST:7002")
		}
	}
	if !isHost(host) {
		b.add(w.pos, fmt.Sprintf("%q is not the name or IPv4 address of a server", clip(host)), "write server HOST:7002")
	}
	return host + ":" + strconv.Itoa(int(n))
}

func (b *builder) stream(s statement) {
	at := s.words[0].pos
	if len(s.words) == 1 {
		b.add(at, "the stream has no name", `write "stream NAME { ... }"`)
	}
	if len(s.words) > 2 {
		b.unknown(s.words[2], "word after the stream's name", []string{"template"}, `write "stream NAME {"`)
	}
	if !s.hasBlock {
		b.add(at, "the stream has no block", `write "stream NAME { input URL; dvr PATH DURATION; }"`)
		return
	}
	var st Stream
	if len(s.words) > 1 {
		name := s.words[1]
		st.Name = name.text
		if what, do := nameProblem(clip(name.text)); what != "" {
			b.add(name.pos, what, do)
		} else if first, twice := b.seen[st.Name]; twice {
			b.add(name.pos, fmt.Sprintf("stream %q is defined twice, first in line %d", st.Name, first.Line), "rename or remove one")
		} else {
			b.seen[st.Name] = name.pos
		}
	}
	b.streamBody(&st, s)
	b.conf.Streams = append(b.conf.Streams, st)
}

func (b *builder) streamBody(st *Stream, s statement) {
	var dvr, inputs int
	urls := map[string]Position{}
	for _, x := range s.block {
		switch word := x.words[0]; word.text {
		case "input":
			inputs++
			b.noBlock(x)
			in, ok := b.input(st.Name, inputs, x)
			if !ok {
				continue
			}
			url, at := in.URL(), x.words[1].pos
			if first, twice := urls[url]; twice {
				do := "remove one"
				if strings.Contains(url, mask) {
					do = "remove one, or let them differ in more than what is masked"
				}
				b.add(at, fmt.Sprintf("input %s is given twice, first in line %d", url, first.Line), do)
				continue
			}
			urls[url] = at
			st.Inputs = append(st.Inputs, in)
		case "dvr":
			dvr++
			b.noBlock(x)
			if dvr > 1 {
				b.add(word.pos, "a stream has one dvr; a second copy is not supported yet", "remove one")
				continue
			}
			st.DVR = b.dvr(x)
		case "readers":
			b.noBlock(x)
			b.readers(st, x)
		case "stream":
			b.add(word.pos, `"stream" stands inside of another stream`, `close the one before with "}"`)
		default:
			if isSpeed(x) {
				b.add(word.pos, "replication_speed of a stream stands in its dvr", `write "dvr PATH DURATION replicate replication_speed=50M;"`)
				continue
			}
			b.unknown(word, "directive", laterStream, `the directives of a stream are "input", "dvr" and "readers"`)
		}
	}
	if inputs == 0 {
		b.add(s.words[0].pos, "the stream has no input", `add "input udp://GROUP:PORT;" or "input m4f://HOST;"`)
	}
	if dvr == 0 {
		b.add(s.words[0].pos, "a stream without dvr is not supported yet", `add "dvr PATH DURATION;"`)
	}
	slices.SortStableFunc(st.Inputs, func(a, b Input) int { return a.Priority - b.Priority })
}

// maxReaders bounds the nodes that are named for a stream.
const maxReaders = 64

// readers reads readers NODE NODE.
func (b *builder) readers(st *Stream, s statement) {
	const form = `write "readers NODE NODE;" with the node ids of the peers, or remove it: then each peer may read the stream`
	switch {
	case st.Readers != nil:
		b.add(s.words[0].pos, "readers is given twice", "name all nodes in one")
		return
	case len(s.words) == 1:
		b.add(s.words[0].pos, "readers names no node", form)
	case len(s.words) > maxReaders+1:
		b.add(s.words[0].pos, fmt.Sprintf("readers names more than %d nodes", maxReaders), "name fewer")
	}
	st.Readers = []string{}
	for _, w := range s.words[1:] {
		switch {
		case !nodeName.MatchString(w.text):
			b.add(w.pos, fmt.Sprintf("%q is no node id", clip(w.text)), form)
		case slices.Contains(st.Readers, w.text):
			b.add(w.pos, fmt.Sprintf("node %q is given twice", clip(w.text)), "keep one")
		default:
			st.Readers = append(st.Readers, w.text)
		}
	}
	slices.Sort(st.Readers)
}

// input reads the n-th input of a stream.
func (b *builder) input(stream string, n int, s statement) (Input, bool) {
	in := Input{Priority: n, SourceTimeout: DefaultSourceTimeout}
	if len(s.words) < 2 {
		b.add(s.words[0].pos, "the input has no URL", `write "input udp://GROUP:PORT;" or "input m4f://HOST:PORT/STREAM;"`)
		return in, false
	}
	if n > maxPriority {
		b.add(s.words[0].pos, fmt.Sprintf("a stream has at most %d inputs", maxPriority), "remove some")
		return in, false
	}
	ok := b.url(&in, stream, s.words[1])
	given := map[string]bool{}
	for _, w := range s.words[2:] {
		key, value, hasValue := strings.Cut(w.text, "=")
		refuse := func(what, do string) { b.add(w.pos, what, do); ok = false }
		if given[key] {
			refuse(fmt.Sprintf("option %q is given twice", clip(key)), "keep one")
			continue
		}
		given[key] = true
		switch key {
		case "priority":
			p, err := strconv.Atoi(value)
			if err != nil || p < 1 || p > maxPriority {
				refuse(fmt.Sprintf("priority %q is not a number from 1 to %d", clip(value), maxPriority), "write priority=1 for the best input")
			}
			in.Priority = p
		case "source_timeout":
			d, err := parseTimeout(value)
			if err != nil || d < minTimeout || d > maxTimeout {
				refuse(fmt.Sprintf("source_timeout %q is not from 1s to 1h", clip(value)), "write source_timeout=3 or source_timeout=3s")
			}
			in.SourceTimeout = d
		case "standby":
			switch value {
			case "hot":
				in.Standby = Hot
			case "cold":
				in.Standby = Cold
			default:
				refuse(fmt.Sprintf("standby %q is neither hot nor cold", clip(value)), "write standby=hot or standby=cold")
			}
		case "passphrase":
			switch {
			case in.Kind != KindSRT:
				refuse("only srt has a passphrase", "remove passphrase=")
			case b.copied && value == mask && in.SRT.Passphrase == "":
				in.SRT.Passphrase = mask
			default:
				if what := in.SRT.set(key, value); what != "" {
					refuse(what, `write passphrase="TEXT"`)
				}
			}
		case "loop":
			switch {
			case in.Kind != KindFile:
				refuse("only a file can be played again", "remove loop=")
			case value != "yes" && value != "no":
				refuse(fmt.Sprintf("loop %q is neither yes nor no", clip(value)), "write loop=yes or loop=no")
			}
			in.File.Loop = value == "yes"
		case "sources", "program", "pids":
			if ok {
				if what, do := in.choose(key, value); what != "" {
					refuse(what, do)
				}
			}
		default:
			if known, what, do := in.Quality.option(key, value); known {
				if in.Kind == KindM4F {
					what, do = fmt.Sprintf("%s is not an option of an m4f input: the peer judges its own inputs", key), "remove it"
				}
				if what != "" {
					refuse(what, do)
				}
				continue
			}
			ok = false
			if !hasValue && !slices.Contains(laterInput, key) {
				if given["passphrase"] { // this may be it
					key = mask
				}
				b.add(w.pos, fmt.Sprintf("unexpected word %q after the URL of the input", clip(key)), `end the input with ";", options are written name=value`)
				continue
			}
			b.unknown(w, "option", laterInput, inputOptions)
		}
	}
	return in, ok
}

const inputOptions = "the options of an input are priority=, source_timeout=, standby=, program=, pids=, sources=, loop=, passphrase=, video_timeout=, audio_timeout=, max_cc_rate=, allow_if= and deny_if="

// choose takes an option that says what is received. It becomes a part of the URL, and so of the input's identity.
func (in *Input) choose(key, value string) (what, do string) {
	const once = "write it once, in the URL or behind it"
	if in.Kind == KindM4F {
		return fmt.Sprintf("%s= means nothing for a peer, which sends what it records", key), "remove it"
	}
	switch key {
	case "program":
		if in.Take.Program != 0 {
			return "the program is given twice", once
		}
		in.Take.Program, what = parseProgram(value)
		return what, "write program=N"
	case "pids":
		if in.Take.PIDs != "" {
			return "the PIDs are given twice", once
		}
		in.Take.PIDs, what = parsePIDs(value)
		return what, "write pids=N,N"
	}
	switch {
	case in.Kind != KindUDP:
		return "sources are chosen for a multicast group alone", "remove sources="
	case in.Second != (UDP{}):
		return "which leg the sources are of is not said", "write ?sources=A,B in the URL of each leg"
	case in.UDP.Sources != "":
		return "the sources are given twice", once
	}
	in.UDP.Sources, what = parseSources(in.UDP.Addr, value)
	return what, "write sources=A,B with a multicast group"
}

func (b *builder) dvr(s statement) DVR {
	var d DVR
	at := s.words[0].pos
	if len(s.words) < 2 {
		b.add(at, "dvr has no path", `write "dvr PATH DURATION;"`)
		return d
	}
	if name, named := strings.CutPrefix(s.words[1].text, "@"); named {
		st, ok := b.storages[name]
		if !ok {
			b.add(s.words[1].pos, fmt.Sprintf("there is no storage %q", clip(name)), fmt.Sprintf("define it: dvr %s { root PATH; }", clip(name)))
		}
		d.Storage, d.Server, d.Path = name, st.Server, st.Root
		if st.Limit != (Limit{}) {
			at = Position{} // it is one of this stream too
		}
	} else {
		d.Path = b.dvrPath(s.words[1])
	}
	words := b.replication(&d, s.words[2:])
	for _, w := range words {
		switch {
		case w.text == "replicate", strings.HasPrefix(w.text, "replicate="):
			if d.Replicate {
				b.add(w.pos, `"replicate" is given twice`, "keep one")
			}
			d.Replicate, d.Pull = true, w.text == "replicate=pull"
			if w.text != "replicate" && !d.Pull {
				b.add(w.pos, fmt.Sprintf("%q is no way to replicate", clip(w.text)), `write "replicate", or "replicate=pull" to give peers nothing`)
			}
		case isLimit(w.text):
			if what := d.Limit.set(w.text); what != "" {
				b.add(w.pos, what, limitForms)
			}
			at = Position{} // a retention was meant: do not ask for one
		case w.text != "" && w.text[0] >= '0' && w.text[0] <= '9':
			r, err := ParseDuration(w.text)
			switch {
			case err != nil:
				b.add(w.pos, err.Error(), "write a duration with units d h m s, as 3d or 1d12h")
			case r < minRetention || r > maxRetention:
				b.add(w.pos, fmt.Sprintf("retention %q is not from 1s to 36500d", clip(w.text)), "write a duration with units d h m s, as 3d")
			case d.Retention != 0:
				b.add(w.pos, "dvr has two durations", "keep one")
			}
			d.Retention, at = r, Position{}
		default:
			b.unknown(w, "word in dvr", laterDVR, `write "dvr PATH [DURATION] [SIZE] [SHARE%] [replicate[=pull] [replication_speed=BITS] [replication_port=PORT]];"`)
		}
	}
	if (d.Speed != "" || d.ReplicationPort != 0) && !d.Replicate {
		b.add(s.words[0].pos, "replication_speed= and replication_port= mean nothing without replicate", "add replicate, or remove them")
	}
	if d.Retention == 0 && at != (Position{}) {
		b.add(at, "dvr has no retention", `write how long to keep or how much, as "dvr PATH 3d;" or "dvr PATH 500G;"`)
	}
	return d
}

// replication takes the options of replication out of the words of a dvr, and gives the rest.
func (b *builder) replication(d *DVR, words []token) (rest []token) {
	given := map[string]bool{}
	for i := 0; i < len(words); i++ {
		w := words[i]
		key, value, _ := strings.Cut(w.text, "=")
		if key != "replication_speed" && key != "replication_port" {
			rest = append(rest, w)
			continue
		}
		if given[key] {
			b.add(w.pos, fmt.Sprintf("%q is given twice", key), "keep one")
		}
		given[key] = true
		if key == "replication_port" {
			var ok bool
			if d.ReplicationPort, ok = parsePort(value); !ok {
				b.add(w.pos, fmt.Sprintf("replication_port %q is not a number from 1 to 65535", clip(value)), "write replication_port=7000")
			}
			continue
		}
		n := i + 1
		for n < len(words) && isWindow(words[n].text) {
			n++
		}
		d.Speed, i = b.speed(words[i:n]), n-1
	}
	return rest
}

func (b *builder) dvrPath(w token) string {
	if w.text == "" {
		b.add(w.pos, "the path of dvr is empty", "give a directory")
		return ""
	}
	p := path.Clean(w.text)
	switch {
	case strings.Contains(w.text, "://"):
		b.add(w.pos, "dvr to a remote storage is not supported yet", "give a directory of this machine")
	case slices.Contains(strings.Split(w.text, "/"), ".."):
		b.add(w.pos, `the path of dvr contains ".."`, "give the directory itself")
	case p == "/":
		b.add(w.pos, "the path of dvr is the root directory", "give a directory of its own")
	}
	return p
}
