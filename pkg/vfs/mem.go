package vfs

import (
	"cmp"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mem is a file system in memory that knows what a power cut would leave: Crash gives it.
type Mem struct {
	mu sync.Mutex // protects the fields below, and every node
	// files are the names as a process sees them, synced those that SyncDir made durable.
	files, synced map[string]*node
	dirs          map[string]bool // true: durable
	changes       []change        // of names, since the last SyncDir of their directory, oldest first
	locks         map[string]bool
}

// change is one change of a name: n has the name now, or nothing has; from is the one that it had.
type change struct {
	path, from string
	n          *node
}

func (c *change) apply(names map[string]*node) {
	if c.from != "" {
		delete(names, c.from)
	}
	if c.n == nil {
		delete(names, c.path)
	} else {
		names[c.path] = c.n
	}
}

// node is the content of a file, shared by its names and its open handles.
type node struct {
	data    []byte
	durable int    // length of data at the last good Sync
	cut     []byte // what a Truncate took that was durable and, until the next good Sync, still is; nil: nothing
	broken  bool   // a Sync failed: nothing is made durable any more
	taken   int64  // its length where it was allocated: it holds nothing
}

func (n *node) size() int64 { return max(n.taken, int64(len(n.data))) }

var _ FS = (*Mem)(nil)

// NewMem returns an empty file system.
func NewMem() *Mem {
	return &Mem{files: map[string]*node{}, synced: map[string]*node{}, dirs: map[string]bool{"/": true}, locks: map[string]bool{}}
}

// CrashAnyhow returns what may be left after a power cut by the worst that a disk does within its promises: what was synced
// is there; of each file that grew any of its sectors (of 512 or 4096 bytes) is there, the others are zeros, and its
// length is anything in between; names that were made, moved or removed since their directory was synced are as they were or as
// they became, in the order of the changes or in none, and so are directories.
func (m *Mem) CrashAnyhow(rnd *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := NewMem()
	for _, d := range slices.Sorted(maps.Keys(m.dirs)) {
		if _, ok := after.dirs[filepath.Dir(d)]; ok && (m.dirs[d] || rnd.IntN(2) == 0) {
			after.dirs[d] = true
		}
	}
	names := maps.Clone(m.synced)
	changes, ordered := m.changes, rnd.IntN(2) == 0
	if ordered {
		changes = changes[:rnd.IntN(len(changes)+1)]
	}
	for i := range changes {
		if ordered || rnd.IntN(2) == 0 {
			changes[i].apply(names)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(names)) {
		if _, ok := after.dirs[filepath.Dir(path)]; ok {
			data := names[path].crash(rnd)
			copied := &node{data: data, durable: len(data), taken: names[path].taken}
			after.files[path], after.synced[path] = copied, copied
		}
	}
	return after
}

// crash gives what may be left of a file.
func (n *node) crash(rnd *rand.Rand) []byte {
	if n.cut != nil && rnd.IntN(2) == 0 {
		return slices.Clone(n.cut)
	}
	data := slices.Clone(n.data[:n.durable+rnd.IntN(len(n.data)-n.durable+1)])
	size, lost := 512<<(3*rnd.IntN(2)), rnd.IntN(3) // none of the sectors is lost, a few are, or most
	for from := n.durable; lost > 0 && from < len(data); {
		to := min((from/size+1)*size, len(data))
		if rnd.IntN(4) < 2*lost-1 {
			clear(data[from:to])
		}
		from = to
	}
	return data
}

// Crash returns what is left after a power cut: names that were synced, with the bytes that were synced. What lies
// beyond them is kept, cut short, or left as zeros as keep says: it is asked for each file with the count of bytes that
// were not synced, and answers how many of them survive and how many zeros follow.
func (m *Mem) Crash(keep func(path string, unsynced int) (bytes, zeros int)) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := NewMem()
	for _, d := range slices.Sorted(maps.Keys(m.dirs)) {
		if _, ok := after.dirs[filepath.Dir(d)]; ok && m.dirs[d] {
			after.dirs[d] = true
		}
	}
	for _, path := range slices.Sorted(maps.Keys(m.synced)) {
		if _, ok := after.dirs[filepath.Dir(path)]; !ok {
			continue
		}
		n := m.synced[path]
		data := slices.Clone(n.data[:n.durable])
		if n.cut != nil {
			data = slices.Clone(n.cut)
		} else if rest := n.data[len(data):]; keep != nil && len(rest) > 0 {
			k, zeros := keep(path, len(rest))
			data = append(data, rest[:min(k, len(rest))]...)
			data = append(data, make([]byte, zeros)...)
		}
		copied := &node{data: data, durable: len(data), taken: n.taken}
		after.files[path], after.synced[path] = copied, copied
	}
	return after
}

// Killed returns what another process finds after the one that used it was killed: everything, and no lock.
func (m *Mem) Killed() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	after, copies := NewMem(), map[*node]*node{nil: nil}
	of := func(n *node) *node {
		if _, ok := copies[n]; !ok {
			c := *n
			c.data = slices.Clone(n.data)
			copies[n] = &c
		}
		return copies[n]
	}
	for path, n := range m.files {
		after.files[path] = of(n)
	}
	for path, n := range m.synced {
		after.synced[path] = of(n)
	}
	for _, c := range m.changes {
		after.changes = append(after.changes, change{path: c.path, from: c.from, n: of(c.n)})
	}
	after.dirs = maps.Clone(m.dirs)
	return after
}

// Corrupt flips a bit of a file.
func (m *Mem) Corrupt(path string, offset int64) error { return m.Flip(path, offset, 0x10) }

// Flip flips those bits of a byte that mask has.
func (m *Mem) Flip(path string, offset int64, mask byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.files[path]
	if !ok || offset >= int64(len(n.data)) {
		return &fs.PathError{Op: "corrupt", Path: path, Err: fs.ErrNotExist}
	}
	n.data = slices.Clone(n.data)
	n.data[offset] ^= mask
	return nil
}

// Create implements FS.
func (m *Mem) Create(path string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.dirs[filepath.Dir(path)]; !ok {
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrNotExist}
	}
	if m.files[path] != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	n := &node{}
	m.files[path] = n
	m.changes = append(m.changes, change{path: path, n: n})
	return &memFile{m: m, n: n, append: true}, nil
}

// Open implements FS.
func (m *Mem) Open(path string) (File, error) { return m.open(path, false) }

// OpenAppend implements FS.
func (m *Mem) OpenAppend(path string) (File, error) { return m.open(path, true) }

func (m *Mem) open(path string, write bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.files[path]
	if n == nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return &memFile{m: m, n: n, append: write}, nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := filepath.Clean(path); ; p = filepath.Dir(p) {
		if _, ok := m.dirs[p]; ok {
			return nil
		}
		m.dirs[p] = false
	}
}

// ReadDir implements FS.
func (m *Mem) ReadDir(path string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	path = filepath.Clean(path)
	if _, ok := m.dirs[path]; !ok {
		return nil, &fs.PathError{Op: "readdir", Path: path, Err: fs.ErrNotExist}
	}
	var out []fs.DirEntry
	for p := range m.dirs {
		if p != path && filepath.Dir(p) == path {
			out = append(out, memEntry{name: filepath.Base(p), dir: true})
		}
	}
	for p, n := range m.files {
		if filepath.Dir(p) == path {
			out = append(out, memEntry{name: filepath.Base(p), size: n.size()})
		}
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return out, nil
}

// Rename implements FS.
func (m *Mem) Rename(oldPath, newPath string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.files[oldPath]
	if n == nil {
		return &fs.PathError{Op: "rename", Path: oldPath, Err: fs.ErrNotExist}
	}
	delete(m.files, oldPath)
	m.files[newPath] = n
	m.changes = append(m.changes, change{path: newPath, from: oldPath, n: n})
	return nil
}

// Remove implements FS.
func (m *Mem) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[path] == nil {
		return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
	}
	delete(m.files, path)
	m.changes = append(m.changes, change{path: path})
	return nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	prefix := strings.TrimSuffix(filepath.Clean(path), "/") + "/"
	for p := range m.synced {
		if strings.HasPrefix(p, prefix) && filepath.Dir(p) == filepath.Clean(path) && m.files[p] == nil {
			delete(m.synced, p)
		}
	}
	for p, n := range m.files {
		if filepath.Dir(p) == filepath.Clean(path) {
			m.synced[p] = n
		}
	}
	for d := range m.dirs {
		if filepath.Dir(d) == filepath.Clean(path) {
			m.dirs[d] = true
		}
	}
	m.changes = slices.DeleteFunc(m.changes, func(c change) bool { return filepath.Dir(c.path) == filepath.Clean(path) })
	return nil
}

// Lock implements FS.
func (m *Mem) Lock(path string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[path] {
		return nil, &fs.PathError{Op: "lock", Path: path, Err: ErrLocked}
	}
	m.locks[path] = true
	return closer(func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.locks, path)
		return nil
	}), nil
}

// Free implements FS.
func (m *Mem) Free(string) (free, total uint64, err error) { return 1 << 40, 1 << 41, nil }

// Allocate implements FS. The room is counted nowhere.
func (m *Mem) Allocate(path string, size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.dirs[filepath.Dir(path)]; !ok {
		return &fs.PathError{Op: "allocate", Path: path, Err: fs.ErrNotExist}
	}
	n := &node{taken: size}
	m.files[path] = n
	m.changes = append(m.changes, change{path: path, n: n})
	return nil
}

type closer func() error

func (c closer) Close() error { return c() }

type memFile struct {
	m      *Mem
	n      *node
	append bool
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) Append(bufs [][]byte) (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if !f.append {
		return 0, fs.ErrPermission
	}
	var total int64
	for _, b := range bufs {
		f.n.data = append(f.n.data, b...)
		total += int64(len(b))
	}
	return total, nil
}

func (f *memFile) StartSync() error { return nil }

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if !f.n.broken {
		f.n.durable, f.n.cut = len(f.n.data), nil
	}
	return nil
}

// lose marks that a Sync failed: the pages are dropped, and a later Sync lies.
func (f *memFile) lose() {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.n.broken = true
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.n.taken = min(f.n.taken, size)
	if size >= int64(len(f.n.data)) {
		return nil
	}
	if f.n.cut == nil && size < int64(f.n.durable) {
		f.n.cut = f.n.data[:f.n.durable]
	}
	f.n.data = slices.Clone(f.n.data[:size])
	f.n.durable = min(f.n.durable, len(f.n.data))
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.n.size(), nil
}

func (f *memFile) Close() error { return nil }

type memEntry struct {
	name string
	size int64
	dir  bool
}

func (e memEntry) Name() string               { return e.name }
func (e memEntry) IsDir() bool                { return e.dir }
func (e memEntry) Type() fs.FileMode          { return e.Mode().Type() }
func (e memEntry) Info() (fs.FileInfo, error) { return e, nil }
func (e memEntry) Size() int64                { return e.size }
func (e memEntry) ModTime() time.Time         { return time.Time{} }
func (e memEntry) Sys() any                   { return nil }
func (e memEntry) Mode() fs.FileMode {
	if e.dir {
		return fs.ModeDir | 0o750
	}
	return 0o640
}
