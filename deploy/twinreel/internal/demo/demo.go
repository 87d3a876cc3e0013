package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/seam"
	"github.com/twinreel/twinreel/deploy/twinreel/verdict"
	"github.com/twinreel/twinreel/deploy/twinreel/witness"
	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/tsplay"
)

// ErrBroken is the end of a run whose verdict is not good.
var ErrBroken = errors.New("the promise was not kept")

// Options say what is run.
type Options struct {
	File   string // transport stream to play; empty: a clip of ours is made
	Source string // udp:// URL of a live source; then nothing is played
	Cold   bool   // the replica joins its UDP input only when it needs it
	JSON   bool
	Keep   bool
	Dir    string   // where to work; empty: a new temporary directory
	Self   string   // this program
	Out    *os.File // for a person, or for JSON alone
}

// Report is the outcome of a run.
type Report struct {
	Verdict   verdict.Verdict `json:"verdict"`
	Emergency float64         `json:"emergency_seconds"` // from the kill to the replica recording from UDP
	Recovery  float64         `json:"recovery_seconds"`  // from the return to identical archives
	Identical bool            `json:"identical"`
	Line      string          `json:"line"`
	Problems  []string        `json:"problems"` // none: the promise was kept
}

// line is the verdict in a line. Only a good one has the words of a good one in it.
func (r *Report) line() string {
	v := &r.Verdict
	switch {
	case len(r.Problems) > 0 && v.Void() && len(v.Different) == 0:
		return "NOT JUDGED: " + strings.Join(r.Problems, "; ")
	case len(r.Problems) > 0:
		return "FAILED: " + strings.Join(r.Problems, "; ")
	}
	return fmt.Sprintf("verdict: %d lost, %d doubled; archives identical (%d slots); emergency after %.1f s; recovery %.1f s",
		v.Lost(), v.Doubled(), v.Slots, r.Emergency, r.Recovery)
}

// Run runs the demo. It returns ErrBroken when the verdict is not good.
func Run(ctx context.Context, o Options) error {
	r := &runner{opts: o, witness: witness.New()}
	if o.JSON {
		r.view = &lines{out: os.Stderr}
	} else {
		r.view = newView(o.Out)
	}
	defer r.close()
	if err := r.prepare(ctx); err != nil {
		return err
	}
	report, err := r.run(ctx)
	if ctx.Err() != nil {
		return errors.New("interrupted; everything is stopped")
	}
	if err != nil {
		return err
	}
	return r.print(report)
}

// runner is one run.
type runner struct {
	opts    Options
	dir     string
	url     string
	listen  streamconf.UDP
	view    view
	sites   [2]*site
	source  *process
	witness *witness.Witness
	blind   chan error // the witness has ended
	stop    context.CancelFunc
	now     scene
	begun   time.Time
}

// conf is the config of design section 1: the two differ in the order of their inputs.
func conf(first, second string) string {
	return fmt.Sprintf("stream %s {\n  input %s;\n  input %s;\n  dvr storage 3d replicate;\n}\n", Stream, first, second)
}

func (r *runner) prepare(ctx context.Context) error {
	r.dir = r.opts.Dir
	if r.dir == "" {
		dir, err := os.MkdirTemp("", "twinreel-demo-")
		if err != nil {
			return fmt.Errorf("make working directory: %w", err)
		}
		r.dir = dir
	}
	if err := emptyDir(r.dir); err != nil {
		return err
	}
	ports, err := freePorts(5)
	if err != nil {
		return err
	}
	if r.url = r.opts.Source; r.url == "" {
		r.url = fmt.Sprintf("udp://239.0.0.1:%d/127.0.0.1", ports[4])
	}
	if r.listen, err = parseSource(r.url); err != nil {
		return err
	}
	udp, standby := r.url, r.url
	if r.opts.Cold {
		standby += " standby=cold"
	}
	addr := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	r.sites[0] = &site{node: "main", grpc: addr(0), http: addr(1), conf: conf(udp, "m4f://"+addr(2)+"/"+Stream)}
	r.sites[1] = &site{node: "replica", grpc: addr(2), http: addr(3), conf: conf("m4f://"+addr(0)+"/"+Stream, standby)}
	for _, s := range r.sites {
		s.self, s.dir = r.opts.Self, filepath.Join(r.dir, s.node)
	}
	if r.opts.File == "" && r.opts.Source == "" {
		r.opts.File = filepath.Join(r.dir, "clip.ts")
		r.say("makes a clip of 19.2 s with ffmpeg: running time, a tone in AAC, a tone in MP2")
		if err := tsplay.MakeClip(ctx, r.opts.File, tsplay.ClipOptions{}); err != nil {
			return fmt.Errorf("make clip: %w", err)
		}
		return nil
	}
	if r.opts.File != "" {
		r.trim()
	}
	return nil
}

// longest is the longest run; a file that lasts longer has no seam in it.
const longest = 3 * time.Minute

// trim has a file of the user's end where all its tracks end together. One that cannot be cut is played as it is.
func (r *runner) trim() {
	if p, err := tsplay.Open(r.opts.File, tsplay.Options{}); err != nil || p.Length() > longest {
		return // the player itself says what is wrong
	}
	whole := r.opts.File
	file := filepath.Join(r.dir, "source.ts")
	cut, err := seam.Trim(whole, file)
	if err != nil {
		r.say("%s is looped as it is: %v", whole, err)
		return
	}
	r.opts.File = file
	r.say("the first %.2f s of %s are looped: there its tracks end together", cut.Length.Seconds(), whole)
	if cut.Gap > 0 {
		r.say("but for a hole of %.0f ms in the sound", float64(cut.Gap)/1e6)
	}
}

// emptyDir makes the directory. In one that has the archives of another run, that run would be judged with this one.
func emptyDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make working directory: %w", err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look into working directory: %w", err)
	}
	if len(list) > 0 {
		return fmt.Errorf("working directory %s is not empty; give one that is, or a new name", dir)
	}
	return nil
}

// parseSource reads the URL as the sites will.
func parseSource(url string) (streamconf.UDP, error) {
	c, err := streamconf.Parse("--source", []byte(conf(url, "m4f://127.0.0.1:1/x")))
	if err != nil {
		return streamconf.UDP{}, fmt.Errorf("source %s: %w", url, err)
	}
	for _, in := range c.Streams[0].Inputs {
		switch {
		case in.Kind != streamconf.KindUDP || !in.UDP.Multicast():
		case in.UDP.RTP || len(in.Legs()) > 1 || len(in.UDP.Sources) > 0:
			return streamconf.UDP{}, fmt.Errorf("source %s: the demo's witness counts bare TS from any sender alone; name the group as udp://", url)
		default:
			return in.UDP, nil
		}
	}
	return streamconf.UDP{}, fmt.Errorf("source %s: want a multicast group: three receivers share it", url)
}

// freePorts gives ports of 127.0.0.1 that are free at the moment. They lie below those from which the kernel takes the
// local ports of outgoing connections: one of those could have the port of a dead site when it returns, and the other
// site, which keeps dialling that port, could even be connected to itself.
func freePorts(n int) ([]int, error) {
	const from, to = 15000, 30000
	var ports []int
	for range 100 {
		port := from + rand.IntN(to-from)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer l.Close() // all are held until all are known
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("find a free port: none in 100 tries")
}

func (r *runner) close() {
	if r.stop != nil {
		r.stop()
	}
	if r.source != nil {
		r.source.end(syscall.SIGTERM, 3*time.Second)
	}
	for _, s := range r.sites {
		if s != nil {
			s.stop()
		}
	}
	switch {
	case r.dir == "":
	case r.opts.Keep:
		fmt.Fprintln(os.Stderr, "kept:", r.dir)
	case r.opts.Dir == "":
		os.RemoveAll(r.dir) //nolint:errcheck // a temporary directory
	}
}

func (r *runner) say(format string, args ...any) { r.view.say(r.now, format, args...) }

// judge reads both archives through the API, and compares them with what was sent.
func (r *runner) judge(ctx context.Context) (verdict.Verdict, error) {
	var held [2]verdict.Site
	for i, s := range r.sites {
		var err error
		if held[i], err = verdict.Read(ctx, s.node, archive.New(s.conn, Stream)); err != nil {
			return verdict.Verdict{}, err
		}
	}
	if r.opts.Source != "" { // it goes on: judged is what both had when they agreed
		_, to, _ := agree(r.now.sites[0], r.now.sites[1])
		held[0], held[1] = held[0].Until(to), held[1].Until(to)
	}
	return verdict.Judge(r.witness.Log(), held[0], held[1]), nil
}

func (r *runner) print(report *Report) error {
	broken := len(report.Problems) > 0
	if r.opts.JSON {
		e := json.NewEncoder(r.opts.Out)
		e.SetIndent("", "  ")
		if err := e.Encode(report); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	} else {
		printText(r.opts.Out, report)
	}
	if broken {
		return ErrBroken
	}
	return nil
}

func printText(w io.Writer, report *Report) {
	v := &report.Verdict
	fmt.Fprintf(w, "\naccess units sent, by a third receiver, in the %.1f s that are judged: %d\n", v.Judged, v.Sent)
	for _, t := range v.Tracks {
		fmt.Fprintf(w, "  %-22s sent %d, lost by %s %d, by %s %d\n", t.Name, t.Sent, v.Sites[0].Site, t.Lost[0], v.Sites[1].Site, t.Lost[1])
	}
	for i, c := range v.Sites {
		fmt.Fprintf(w, "site %c %-8s recorded %d, lost %d, doubled %d", 'A'+i, c.Site, c.Recorded, c.Lost, c.Doubled)
		if c.Foreign > 0 {
			fmt.Fprintf(w, ", not sent so %d", c.Foreign)
		}
		if c.Moved > 0 {
			fmt.Fprintf(w, ", %d of it up to %.0f ms from the time that was sent", c.Moved, c.MovedBy*1e3)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "slots compared by digest: %d, equal: %d\n", v.Slots, v.Slots-len(v.Different))
	for _, d := range v.Different {
		fmt.Fprintf(w, "  %s: %s\n", d.At.Format("15:04:05.000"), d.Text)
	}
	for _, s := range v.NotJudged {
		fmt.Fprintf(w, "not judged: %s, which the third receiver cannot count\n", s)
	}
	fmt.Fprintf(w, "not judged: %.1f s before the first and %.1f s after the last whole segment\n", v.Head, v.Tail)
	fmt.Fprintf(w, "from the kill of main to replica recording from UDP: %.1f s\n", report.Emergency)
	fmt.Fprintf(w, "from the return of main to identical archives: %.1f s\n", report.Recovery)
	for _, p := range report.Problems {
		fmt.Fprintln(w, "problem:", p)
	}
	fmt.Fprintln(w, report.Line)
}
