package store

import (
	"errors"
	"io/fs"
	"path/filepath"
)

const (
	// maxBallast is the size of the ballast on a volume that is not small: several times what the index writes at once.
	maxBallast = 64 << 20
	// leastBallast is what is given away whole.
	leastBallast = 1 << 20
)

// ballastPath is a file that holds room on the volume of the index. The index cannot take back a commit that met a full
// disk: it would end the process. So half of what is left of the file is given away then, and the commit goes on, while no
// new segment is taken; it is made again when there is room for it beyond the reserve.
func (s *Store) ballastPath() string { return filepath.Join(s.o.Path, metaDir, "ballast") }

func ballastOf(v *volume) int64 { return int64(min(maxBallast, v.total/32)) }

// indexStarves is called when the index met a full disk, before it tries once more.
func (s *Store) indexStarves() {
	s.room.starved.Store(true)
	s.room.why.Store(fullness{errIndexFull})
	left, err := s.releaseBallast()
	s.log.Error("the volume of the index is full, ballast is given to it", "path", s.o.Path, "ballast_left_bytes", left, "err", err)
}

func (s *Store) releaseBallast() (left int64, err error) {
	path := s.ballastPath()
	f, err := s.fs.OpenAppend(path)
	if err != nil {
		return 0, err
	}
	size, err := f.Size()
	if left = size / 2; err == nil && left >= leastBallast {
		err = f.Truncate(left)
	}
	err = errors.Join(err, f.Close())
	if left < leastBallast || err != nil {
		return 0, errors.Join(err, s.fs.Remove(path))
	}
	return left, nil
}

// tendBallast makes the ballast whole where there is room.
func (s *Store) tendBallast() {
	v, err := s.indexVolume()
	if err != nil {
		return // checkRoom says so
	}
	want := ballastOf(&v)
	have := s.ballast()
	if have >= want || want < leastBallast || v.free+uint64(have) < v.keepFree(true)+uint64(want) {
		return
	}
	if err := s.fs.Allocate(s.ballastPath(), want); err != nil {
		s.log.Warn("ballast of the index cannot be made", "path", s.ballastPath(), "bytes", want, "err", err)
		return
	}
	s.log.Info("ballast of the index is made", "path", s.ballastPath(), "bytes", want)
}

// roomToOpen refuses to open an index that could not write what it must: it would try for ever.
func (s *Store) roomToOpen() error {
	v, err := s.indexVolume()
	if err != nil {
		return err
	}
	if least := min(8<<20, v.total/64); v.free+uint64(s.ballast()) < least {
		return errIndexFull
	}
	return nil
}

// ballast is how much of it there is.
func (s *Store) ballast() int64 {
	f, err := s.fs.Open(s.ballastPath())
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		return maxBallast // it is there, and cannot be looked at now
	}
	defer f.Close() //nolint:errcheck // it was only looked at
	size, err := f.Size()
	if err != nil {
		return maxBallast
	}
	return size
}
