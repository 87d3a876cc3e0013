package sim

import (
	"errors"
	"math/rand/v2"
	"sync"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinreel/twinreel/dvrsvc/app"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// disk is what a site keeps over the ends of its processes. Data and index are of one moment also after a power cut.
type disk struct {
	data  *vfs.Mem
	index *pebblevfs.MemFS
	gate  *sync.RWMutex // read while something changes, written while a copy is made
}

func newDisk() *disk {
	return &disk{data: vfs.NewMem(), index: newIndex(), gate: &sync.RWMutex{}}
}

func newIndex() *pebblevfs.MemFS {
	m := pebblevfs.NewCrashableMem()
	root, err := m.OpenDir("/")
	if err := errors.Join(err, m.MkdirAll(storage, 0o750), root.Sync(), root.Close()); err != nil {
		panic(err)
	}
	return m
}

// app is the disk as dvrsvc is given it.
func (d *disk) app() app.Disk {
	return app.Disk{FS: gated{d.data, d.gate}, Index: gatedIndex{d.index, d.gate}, Exit: func(int) {}}
}

// killed is what the next process finds when this one is killed.
func (d *disk) killed() *disk {
	d.gate.Lock()
	defer d.gate.Unlock()
	return &disk{data: d.data.Killed(), index: d.index.CrashClone(pebblevfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}), gate: &sync.RWMutex{}}
}

// crashed is what is left by a power cut.
func (d *disk) crashed(rnd *rand.Rand) *disk {
	d.gate.Lock()
	defer d.gate.Unlock()
	return &disk{
		data: d.data.CrashAnyhow(rnd), gate: &sync.RWMutex{},
		index: d.index.CrashClone(pebblevfs.CrashCloneCfg{UnsyncedDataPercent: rnd.IntN(101), RNG: rnd}),
	}
}

// gated is the file system of the data files.
type gated struct {
	*vfs.Mem
	gate *sync.RWMutex
}

func (g gated) Create(path string) (vfs.File, error) {
	g.gate.RLock()
	defer g.gate.RUnlock()
	f, err := g.Mem.Create(path)
	return gatedFile{f, g.gate}, err
}

func (g gated) OpenAppend(path string) (vfs.File, error) {
	f, err := g.Mem.OpenAppend(path)
	return gatedFile{f, g.gate}, err
}

func (g gated) MkdirAll(path string) error {
	g.gate.RLock()
	defer g.gate.RUnlock()
	return g.Mem.MkdirAll(path)
}

func (g gated) Rename(from, to string) error {
	g.gate.RLock()
	defer g.gate.RUnlock()
	return g.Mem.Rename(from, to)
}

func (g gated) Remove(path string) error {
	g.gate.RLock()
	defer g.gate.RUnlock()
	return g.Mem.Remove(path)
}

func (g gated) SyncDir(path string) error {
	g.gate.RLock()
	defer g.gate.RUnlock()
	return g.Mem.SyncDir(path)
}

type gatedFile struct {
	vfs.File
	gate *sync.RWMutex
}

func (f gatedFile) Append(bufs [][]byte) (int64, error) {
	f.gate.RLock()
	defer f.gate.RUnlock()
	return f.File.Append(bufs)
}

func (f gatedFile) Sync() error {
	f.gate.RLock()
	defer f.gate.RUnlock()
	return f.File.Sync()
}

func (f gatedFile) Truncate(size int64) error {
	f.gate.RLock()
	defer f.gate.RUnlock()
	return f.File.Truncate(size)
}

// gatedIndex is the file system of the index.
type gatedIndex struct {
	pebblevfs.FS
	gate *sync.RWMutex
}

func (g gatedIndex) Create(name string, c pebblevfs.DiskWriteCategory) (pebblevfs.File, error) {
	g.gate.RLock()
	defer g.gate.RUnlock()
	f, err := g.FS.Create(name, c)
	return gatedIndexFile{f, g.gate}, err
}

func (g gatedIndex) ReuseForWrite(from, to string, c pebblevfs.DiskWriteCategory) (pebblevfs.File, error) {
	g.gate.RLock()
	defer g.gate.RUnlock()
	f, err := g.FS.ReuseForWrite(from, to, c)
	return gatedIndexFile{f, g.gate}, err
}

func (g gatedIndex) OpenDir(name string) (pebblevfs.File, error) {
	f, err := g.FS.OpenDir(name)
	return gatedIndexFile{f, g.gate}, err
}

func (g gatedIndex) Remove(name string) error {
	g.gate.RLock()
	defer g.gate.RUnlock()
	return g.FS.Remove(name)
}

func (g gatedIndex) Rename(from, to string) error {
	g.gate.RLock()
	defer g.gate.RUnlock()
	return g.FS.Rename(from, to)
}

// Unwrap implements pebblevfs.FS.
func (g gatedIndex) Unwrap() pebblevfs.FS { return g.FS }

type gatedIndexFile struct {
	pebblevfs.File
	gate *sync.RWMutex
}

func (f gatedIndexFile) Write(p []byte) (int, error) {
	f.gate.RLock()
	defer f.gate.RUnlock()
	return f.File.Write(p)
}

func (f gatedIndexFile) Sync() error {
	f.gate.RLock()
	defer f.gate.RUnlock()
	return f.File.Sync()
}

func (f gatedIndexFile) SyncData() error {
	f.gate.RLock()
	defer f.gate.RUnlock()
	return f.File.SyncData()
}

func (f gatedIndexFile) SyncTo(length int64) (bool, error) {
	f.gate.RLock()
	defer f.gate.RUnlock()
	return f.File.SyncTo(length)
}

var (
	_ vfs.FS       = gated{}
	_ pebblevfs.FS = gatedIndex{}
)
