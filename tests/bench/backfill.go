package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

const (
	backfillStreams = 20
	backfillBitrate = 4_000_000
	backfillAim     = 0.8 // of net/http
	httpAtATime     = 4   // files
)

// haul is what it took to bring an archive to another place.
type haul struct {
	bytes int64
	took  time.Duration
	cpu   time.Duration // of both ends
}

func (h *haul) add(o haul) { h.bytes, h.took, h.cpu = h.bytes+o.bytes, h.took+o.took, h.cpu+o.cpu }

func (h *haul) rate() float64 { return float64(h.bytes) / 1e6 / h.took.Seconds() }

// backfill compares how fast an empty site fetches an archive with copies of the same files over HTTP and by rsync, each
// synced, in turns.
func backfill(ctx context.Context, o options, dir string) error {
	peer, err := freeTCP()
	if err != nil {
		return err
	}
	main := filepath.Join(dir, "main")
	files, size, err := makeArchive(ctx, o, main, peer)
	if err != nil {
		return err
	}
	fmt.Printf("\nan archive of %d streams, %.2f GB in %d data files, in the page cache, is brought to an empty place on the same disk, in turns\n",
		backfillStreams, float64(size)/1e9, len(files))
	contenders := []struct {
		name string
		run  func(ctx context.Context, dir string) (haul, error)
		sum  haul
	}{
		{name: "net/http: sendfile, each file synced", run: func(ctx context.Context, to string) (haul, error) {
			return haulHTTP(ctx, filepath.Join(main, "media"), files, to)
		}},
		{name: "rsync --fsync", run: func(ctx context.Context, to string) (haul, error) {
			return haulRsync(ctx, filepath.Join(main, "media"), to)
		}},
		{name: "twinreel: M4F, hash-checked, durable", run: func(ctx context.Context, to string) (haul, error) {
			return haulM4F(ctx, o, main, peer, to)
		}},
	}
	for turn := range o.turns {
		for i := range contenders {
			c := &contenders[i]
			to := filepath.Join(dir, "to")
			if err := os.Mkdir(to, 0o755); err != nil {
				return err
			}
			h, err := c.run(ctx, to)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			fmt.Printf("turn %d, %s: %.0f MB/s\n", turn+1, c.name, h.rate())
			c.sum.add(h)
			if err := os.RemoveAll(to); err != nil {
				return err
			}
			unix.Sync() // what the next one meets is its own
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "contender\tMB/s\tof net/http\taim\tCPU s a GiB, both ends")
	for i, c := range contenders {
		aim := ""
		if i == len(contenders)-1 {
			aim = fmt.Sprint(backfillAim)
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.2f\t%s\t%.2f\n", c.name, c.sum.rate(), c.sum.rate()/contenders[0].sum.rate(), aim,
			c.sum.cpu.Seconds()/float64(c.sum.bytes)*(1<<30))
	}
	return w.Flush()
}

// makeArchive records an archive of o.backfill bytes, and gives its data files.
func makeArchive(ctx context.Context, o options, dir, m4f string) (files []string, size int64, err error) {
	s, err := startSite(ctx, o, dir, "main", m4f, "", backfillStreams)
	if err != nil {
		return nil, 0, err
	}
	defer s.stop()
	long := time.Duration(float64(o.backfill) * 8e6 / backfillStreams / backfillBitrate * float64(time.Second))
	began := time.Now().Add(-long - time.Hour)
	g, recording := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i := range backfillStreams {
		g.Go(func() error {
			source, err := newSynthSource(backfillBitrate, 1)
			if err != nil {
				return err
			}
			return recordPast(recording, s.conns[0], source, benchStream(i), began, segmentsOf(long))
		})
	}
	if err := g.Wait(); err != nil {
		return nil, 0, err
	}
	s.stop()
	media := filepath.Join(dir, "media")
	err = filepath.WalkDir(media, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			if e != nil && e.Name() == ".twinreel" {
				return fs.SkipDir
			}
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		size += info.Size()
		rel, err := filepath.Rel(media, path)
		files = append(files, rel)
		return err
	})
	return files, size, err
}

// haulM4F has an empty site fetch the archive of another one: from the first segment that is durable to the last.
func haulM4F(ctx context.Context, o options, main, m4f, to string) (h haul, err error) {
	a, err := startSite(ctx, o, main, "main", m4f, "", backfillStreams)
	if err != nil {
		return h, err
	}
	defer a.stop()
	want, err := stored(ctx, a)
	if err != nil {
		return h, err
	}
	own, err := freeTCP()
	if err != nil {
		return h, err
	}
	b, err := startSite(ctx, o, to, "replica", own, m4f, backfillStreams)
	if err != nil {
		return h, err
	}
	defer b.stop()
	started := time.Now()
	var began time.Time
	var first, at int64
	var before time.Duration
	for limit := started.Add(10 * time.Minute); at < want; {
		if time.Now().After(limit) {
			return h, fmt.Errorf("%d of %d bytes after ten minutes: %s", at, want, b.repl.stderr.String())
		}
		if at, err = stored(ctx, b); err != nil {
			return h, err
		}
		switch used, err := cpuOf(a, b); {
		case err != nil:
			return h, err
		case began.IsZero() && at > 0:
			began, first, before = time.Now(), at, used
		case at >= want:
			h = haul{bytes: at - first, took: time.Since(began), cpu: used - before}
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return h, err
		}
	}
	fmt.Printf("first segment durable %s after the empty site was up, the last %s\n",
		began.Sub(started).Round(100*time.Millisecond), time.Since(started).Round(100*time.Millisecond))
	return h, nil
}

func cpuOf(sites ...*replSite) (sum time.Duration, err error) {
	for _, s := range sites {
		c, err := s.cpu()
		if err != nil {
			return 0, err
		}
		sum += c
	}
	return sum, nil
}

// stored gives the bytes of all copies.
func stored(ctx context.Context, s *replSite) (sum int64, err error) {
	list, err := dvrv1.NewIndexServiceClient(s.conns[0]).ListStreams(ctx, &dvrv1.ListStreamsRequest{})
	for _, st := range list.GetStreams() {
		sum += int64(st.GetBytes())
	}
	return sum, err
}

// haulHTTP copies files from a server in a process of its own to one that syncs each, some at a time.
func haulHTTP(ctx context.Context, from string, files []string, to string) (h haul, err error) {
	addr, err := freeTCP()
	if err != nil {
		return h, err
	}
	server, err := start(ctx, []string{httpEnv + "=serve"}, os.Args[0], addr, from)
	if err != nil {
		return h, err
	}
	defer server.stop()
	if err := answers(ctx, addr); err != nil {
		return h, err
	}
	began := time.Now()
	client := exec.CommandContext(ctx, os.Args[0], append([]string{addr, to}, files...)...)
	client.Env = append(os.Environ(), httpEnv+"=get")
	if out, err := client.CombinedOutput(); err != nil {
		return h, fmt.Errorf("%w: %s", err, out)
	}
	h.took = time.Since(began)
	server.stop()
	h.cpu = spent(client) + spent(server.cmd)
	return h, h.weigh(to)
}

// httpChild is either end of haulHTTP: serve ADDR DIR, or get from ADDR to DIR the files that are named.
func httpChild(ctx context.Context, end string, args []string) error {
	addr, dir := args[0], args[1]
	if end == "serve" {
		s := &http.Server{Addr: addr, Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: time.Minute}
		stop := context.AfterFunc(ctx, func() { s.Close() }) //nolint:errcheck // the process ends
		defer stop()
		if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(httpAtATime)
	for _, name := range args[2:] {
		g.Go(func() error {
			return fetchFile(ctx, "http://"+addr+"/"+filepath.ToSlash(name), filepath.Join(dir, name))
		})
	}
	return g.Wait()
}

func fetchFile(ctx context.Context, url, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer r.Body.Close() //nolint:errcheck // it was read to its end
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, r.Status)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was synced
	if _, err := io.Copy(f, r.Body); err != nil {
		return err
	}
	return f.Sync()
}

// haulRsync copies with an rsync daemon and an rsync that syncs.
func haulRsync(ctx context.Context, from, to string) (h haul, err error) {
	addr, err := freeTCP()
	if err != nil {
		return h, err
	}
	host, port, _ := strings.Cut(addr, ":")
	conf := filepath.Join(to, "rsyncd.conf")
	text := fmt.Sprintf("use chroot = no\nuid = %d\ngid = %d\n[archive]\npath = %s\nread only = yes\n", os.Getuid(), os.Getgid(), from)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return h, err
	}
	server, err := start(ctx, nil, "rsync", "--daemon", "--no-detach", "--address="+host, "--port="+port, "--config="+conf)
	if err != nil {
		return h, err
	}
	defer server.stop()
	if err := answers(ctx, addr); err != nil {
		return h, err
	}
	media := filepath.Join(to, "media")
	began := time.Now()
	client := exec.CommandContext(ctx, "rsync", "-a", "--whole-file", "--fsync", "--exclude=.twinreel", "rsync://"+addr+"/archive/", media)
	if out, err := client.CombinedOutput(); err != nil {
		return h, fmt.Errorf("%w: %s", err, out)
	}
	h.took = time.Since(began)
	server.stop()
	h.cpu = spent(client) + spent(server.cmd)
	return h, h.weigh(media)
}

// answers waits until something listens.
func answers(ctx context.Context, addr string) error {
	for limit := time.Now().Add(10 * time.Second); ; {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp4", addr)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(limit) {
			return err
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// spent is what a process that has ended used, with the children that it waited for.
func spent(c *exec.Cmd) time.Duration { return c.ProcessState.UserTime() + c.ProcessState.SystemTime() }

// weigh takes what lies in a directory as what was brought.
func (h *haul) weigh(dir string) error {
	return filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			h.bytes += info.Size()
		}
		return err
	})
}
