package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/segment"
)

// scanned is what a data file was found to hold.
type scanned struct {
	file   index.File
	head   fileHead
	adopt  bool // the fields below count
	copies []index.Copy
	gone   map[segment.Digest]segment.Digest // what is not here any more, and what contains it
	torn   *torn
	end    int64 // of the last record, or of the head
	done   bool
	// left: part of the file could not be read now. It stays as it is, and the next start scans it from indexed on.
	left    bool
	indexed int64
}

// leave keeps the file for the next start, from the last record before the place that cannot be read.
func (p *scanned) leave() {
	if !p.left {
		p.left, p.indexed = true, p.end
	}
}

// torn is a copy that has no record: it was open when the process ended.
type torn struct {
	head   copyHead
	chunks []chunk
}

// readHead finds the head box behind ftyp and moov. at is where it ends. Errors: errBox, errUnreadable, errNewer.
func readHead(f io.ReaderAt, size int64) (h fileHead, at int64, err error) {
	for at < min(size, 64<<20) {
		n, kind, ours, err := boxAt(f, at, size)
		if err != nil {
			return h, 0, err
		}
		if ours && kind == boxHead {
			box := make([]byte, n)
			if err := readFull(f, box, at); err != nil {
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
	if size-at < 8 {
		return 0, "", false, errBox
	}
	head := make([]byte, min(int64(boxPrefix), size-at))
	if err := readFull(f, head, at); err != nil {
		return 0, "", false, err
	}
	n = int64(binary.BigEndian.Uint32(head))
	if length, k, ok := boxSize(head); ok {
		n, kind, ours = int64(length), k, true
	}
	if n < 8 || at+n > size {
		return 0, "", false, errBox
	}
	return n, kind, ours, nil
}

// scanFile reads a data file from where it is indexed on. Records are believed where the file was closed in order;
// behind the last sync anything may be missing, so there every byte is checked, and in a file that failed. A file of a
// newer program is an error.
func (st *Stream) scanFile(file index.File, failed bool) (scanned, error) {
	p := scanned{file: file}
	f, err := st.s.fs.Open(filepath.Join(st.dir, file.Name))
	if diskFails(err) {
		st.s.log.Error("data file cannot be opened, it is left for the next start", "stream", st.name, "file", file.Name, "err", err)
		return p, nil
	}
	if err != nil {
		return p, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return p, err
	}
	var at int64
	switch p.head, at, err = readHead(f, size); {
	case errors.Is(err, errNewer):
		return p, err
	case err != nil:
		return p, st.headless(f, file, size, err)
	}
	p.adopt, p.end = true, max(at, file.Indexed)
	p.done = !failed && st.endsInOrder(f, p.head.nonce, size)
	sc := scanner{f: f, size: size, nonce: p.head.nonce, verify: !p.done, page: &p}
	for at = p.end; at < size; {
		next, err := sc.step(at)
		switch {
		case errors.Is(err, errNewer):
			return p, fmt.Errorf("at %d: %w", at, err)
		case errors.Is(err, errUnreadable):
			p.leave()
		}
		if err != nil {
			if next = sc.resync(at + 1); next < 0 {
				break
			}
			st.s.log.Error("data file has a damaged stretch", "stream", st.name, "file", file.Name, "from", at, "to", next, "err", err)
			sc.open, sc.faults = nil, segment.Evidence{}
		}
		at = next
	}
	if p.done {
		p.end = size // a copy without a record in a closed file was dropped
	} else {
		p.torn = sc.open
	}
	if p.left {
		st.s.log.Error("data file cannot be read to its end, the rest is left for the next start", "stream", st.name,
			"file", file.Name, "from", p.indexed)
	}
	return p, nil
}

// headless handles a file without a head. Only one that holds nothing at all was never synced for certain: any other
// may have lost its head to the disk, and stays for whoever can repair it.
func (st *Stream) headless(f io.ReaderAt, file index.File, size int64, cause error) error {
	if file.Copies == 0 && zeros(f, size) {
		return st.removeFile(file.Name)
	}
	st.s.log.Error("data file has no head, it is left alone", "stream", st.name, "file", file.Name, "bytes", size, "err", cause)
	return nil
}

// zeros reports whether a file has no other bytes.
func zeros(f io.ReaderAt, size int64) bool {
	buf := make([]byte, 64<<10)
	for at := int64(0); at < size; at += int64(len(buf)) {
		b := buf[:min(int64(len(buf)), size-at)]
		if readFull(f, b, at) != nil || bytes.ContainsFunc(b, func(r rune) bool { return r != 0 }) {
			return false
		}
	}
	return true
}

// endsInOrder reports whether the last box of a file says that it was closed.
func (st *Stream) endsInOrder(f io.ReaderAt, n nonce, size int64) bool {
	if size < int64(boxOverhead) {
		return false
	}
	var box [boxOverhead]byte
	if readFull(f, box[:], size-int64(boxOverhead)) != nil {
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

// step takes the box at a place and returns where the next one begins; any error ends the scan. errNewer: the box is
// whole and its meaning is not known.
func (s *scanner) step(at int64) (int64, error) {
	n, _, ours, err := boxAt(s.f, at, s.size)
	if err != nil {
		return 0, err
	}
	if !ours {
		return 0, errBox
	}
	box := make([]byte, n)
	if err := readFull(s.f, box, at); err != nil {
		return 0, err
	}
	_, kind, _ := boxSize(box)
	payload, err := openBox(s.nonce, box)
	if err != nil {
		return 0, err
	}
	at += n
	switch kind {
	case boxCopy:
		var head copyHead
		head, err = parseCopyHead(payload)
		s.open = &torn{head: head}
	case boxFaults:
		s.faults, err = index.ParseEvidence(payload)
	case boxChunk:
		return s.chunk(payload, at)
	case boxSeal:
		var c index.Copy
		c, _, err = index.ParseRecord(payload)
		c.File = s.page.file.No
		if err == nil {
			s.page.copies = append(s.page.copies, c)
			s.open, s.page.end = nil, at
		}
	case boxGone:
		err = s.page.takeGone(payload)
	case boxDone:
	default:
		err = fmt.Errorf("a box of kind %q", kind)
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errNewer, err)
	}
	return at, nil
}

// chunk takes a chunk, which begins at a place, by its box.
func (s *scanner) chunk(box []byte, at int64) (int64, error) {
	ch, err := parseChunkBox(box)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: %w", errNewer, err)
	case s.open == nil || at+int64(ch.Size) > s.size:
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
	return at + int64(ch.Size), nil
}

// sector is how much is passed over where the disk cannot be read.
const sector = 4096

// resync finds the next copy box at or behind a place, or gives -1.
func (s *scanner) resync(at int64) int64 {
	mark := []byte("uuid" + boxUser + boxCopy)
	buf := make([]byte, 1<<20)
	for s.size-at >= int64(len(mark)) {
		part := buf[:min(int64(len(buf)), s.size-at)]
		n, err := s.f.ReadAt(part, at)
		for from := 0; ; {
			i := bytes.Index(buf[from:n], mark)
			if i < 0 {
				break
			}
			from += i + 1
			if box := at + int64(from) - 1 - 4; s.copyAt(box) {
				return box
			}
		}
		if n < len(part) {
			if err != nil && !errors.Is(err, io.EOF) {
				s.page.leave()
			}
			at = (at + int64(n) + sector) / sector * sector
			continue
		}
		at += int64(n - len(mark) + 1)
	}
	return -1
}

// copyAt reports whether a copy begins at a place.
func (s *scanner) copyAt(at int64) bool {
	length, kind, ours, err := boxAt(s.f, at, s.size)
	if err != nil || !ours || kind != boxCopy {
		return false
	}
	whole := make([]byte, length)
	if readFull(s.f, whole, at) != nil {
		return false
	}
	_, err = openBox(s.nonce, whole)
	return err == nil
}
