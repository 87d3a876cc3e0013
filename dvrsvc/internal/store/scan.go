package store

import (
	"bytes"
	"encoding/binary"
	"io"
	"path/filepath"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/segment"
)

type readerAt = io.ReaderAt

// scanned is what a data file was found to hold.
type scanned struct {
	file   index.File
	head   fileHead
	copies []index.Copy
	torn   *torn
	end    int64 // of the last record, or of the head
	done   bool
}

// torn is a copy that has no record: it was open when the process ended.
type torn struct {
	head   copyHead
	chunks []chunk
}

// readHead finds the head box behind ftyp and moov. at is where it ends.
func readHead(f io.ReaderAt, size int64) (h fileHead, at int64, err error) {
	for at < min(size, 64<<20) {
		n, kind, ok, err := boxAt(f, at, size)
		if err != nil {
			return h, 0, err
		}
		if ok && kind == boxHead {
			box := make([]byte, n)
			if _, err := f.ReadAt(box, at); err != nil && err != io.EOF {
				return h, 0, err
			}
			h, err = parseFileHead(box)
			return h, at + n, err
		}
		at += n
	}
	return h, 0, errBox
}

// boxAt reads the header of the box at a place. ours: it is a box of the store, of this kind.
func boxAt(f io.ReaderAt, at, size int64) (n int64, kind string, ours bool, err error) {
	var head [boxPrefix]byte
	got, err := f.ReadAt(head[:], at)
	if got < 8 {
		return 0, "", false, errBox
	}
	if err != nil && err != io.EOF {
		return 0, "", false, err
	}
	n = int64(binary.BigEndian.Uint32(head[:]))
	if length, k, ok := boxSize(head[:got]); ok {
		n, kind, ours = int64(length), k, true
	}
	if n < 8 || at+n > size {
		return 0, "", false, errBox
	}
	return n, kind, ours, nil
}

// scanFile reads a data file from where it is indexed on. Records are believed where the file was closed in order;
// behind the last sync anything may be missing, so there every byte is checked.
func (st *Stream) scanFile(file index.File, rebuild bool) (scanned, error) {
	p := scanned{file: file}
	f, err := st.s.fs.Open(filepath.Join(st.dir, file.Name))
	if err != nil {
		return p, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return p, err
	}
	var at int64
	p.head, at, err = readHead(f, size)
	if err != nil {
		// The file was made and never synced, or its head is rotten: nothing in it can be trusted.
		st.s.log.Warn("data file has no head, it is left out", "stream", st.name, "file", file.Name, "bytes", size, "err", err)
		p.file.Closed = true
		if size < 64<<10 && file.Copies == 0 {
			return p, st.s.fs.Remove(filepath.Join(st.dir, file.Name))
		}
		return p, nil
	}
	if file.Closed {
		return p, nil
	}
	p.end = max(at, file.Indexed)
	p.done = st.endsInOrder(f, p.head.nonce, size)
	sc := scanner{f: f, size: size, nonce: p.head.nonce, verify: !p.done, page: &p}
	for at = p.end; at < size; {
		next, err := sc.step(at)
		if err != nil {
			if next = sc.resync(at + 1); next < 0 {
				break
			}
			st.s.log.Error("data file has a damaged stretch", "stream", st.name, "file", file.Name, "from", at, "to", next, "err", err)
			sc.open = nil
		}
		at = next
	}
	if p.done {
		p.end = size // a copy without a record in a closed file was dropped
	} else {
		p.torn = sc.open
	}
	return p, nil
}

// endsInOrder reports whether the last box of a file says that it was closed.
func (st *Stream) endsInOrder(f io.ReaderAt, n nonce, size int64) bool {
	if size < int64(boxOverhead) {
		return false
	}
	var box [boxOverhead]byte
	if _, err := f.ReadAt(box[:], size-int64(boxOverhead)); err != nil && err != io.EOF {
		return false
	}
	length, kind, ok := boxSize(box[:])
	if !ok || length != boxOverhead || kind != boxDone {
		return false
	}
	_, err := openBox(n, box[:])
	return err == nil
}

// scanner walks the boxes of a data file.
type scanner struct {
	f      io.ReaderAt
	size   int64
	nonce  nonce
	verify bool
	page   *scanned

	open   *torn // since the last copy box
	faults segment.Evidence
}

// step takes the box at a place and returns where the next one begins; any error ends the scan.
func (s *scanner) step(at int64) (int64, error) {
	n, kind, ours, err := boxAt(s.f, at, s.size)
	if err != nil {
		return 0, err
	}
	if !ours {
		return 0, errBox
	}
	box := make([]byte, n)
	if got, err := s.f.ReadAt(box, at); got < len(box) {
		return 0, err
	}
	payload, err := openBox(s.nonce, box)
	if err != nil {
		return 0, err
	}
	at += n
	switch kind {
	case boxCopy:
		head, err := parseCopyHead(payload)
		if err != nil {
			return 0, err
		}
		s.open = &torn{head: head}
	case boxFaults:
		if s.faults, err = index.ParseEvidence(payload); err != nil {
			return 0, err
		}
	case boxChunk:
		ch, err := parseChunkBox(payload)
		if err != nil || s.open == nil || at+int64(ch.Size) > s.size {
			return 0, errBox
		}
		c := chunk{Chunk: ch, at: at, ev: s.faults}
		if s.verify {
			if c.data, err = readChunk(s.f, at, ch, nil); err != nil {
				return 0, err
			}
		}
		s.open.chunks = append(s.open.chunks, c)
		s.faults = segment.Evidence{}
		at += int64(ch.Size)
	case boxSeal:
		c, _, err := index.ParseRecord(payload)
		if err != nil {
			return 0, err
		}
		c.File = s.page.file.No
		s.page.copies = append(s.page.copies, c)
		s.open, s.page.end = nil, at
	case boxDone:
	default:
		return 0, errBox
	}
	return at, nil
}

// resync finds the next copy box at or behind a place, or gives -1.
func (s *scanner) resync(at int64) int64 {
	mark := []byte("uuid" + boxUser + boxCopy)
	buf := make([]byte, 1<<20)
	for at < s.size {
		n, _ := s.f.ReadAt(buf[:min(int64(len(buf)), s.size-at)], at)
		for from := 0; ; {
			i := bytes.Index(buf[from:n], mark)
			if i < 0 {
				break
			}
			from += i + 1
			box := at + int64(from) - 1 - 4
			if length, kind, ours, err := boxAt(s.f, box, s.size); err == nil && ours && kind == boxCopy {
				whole := make([]byte, length)
				if got, _ := s.f.ReadAt(whole, box); got == len(whole) {
					if _, err := openBox(s.nonce, whole); err == nil {
						return box
					}
				}
			}
		}
		if n < len(mark) {
			break
		}
		at += int64(n - len(mark) + 1)
	}
	return -1
}
