package transfer

import (
	"slices"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
)

// maxPartial bounds what was fetched and could not be recorded yet, in bytes.
const maxPartial = 64 << 20

// partials are downloads that wait to go on: cut on the way, or whole while dvrsvc took nothing. Oldest first.
type partials struct {
	list []*m4fclient.Download
}

// keep takes a download, and lets the oldest go where they are too many. The one that came last always stays.
func (p *partials) keep(d *m4fclient.Download) {
	if len(d.Data) == 0 {
		return
	}
	p.list = append(p.list, d)
	var bytes uint64
	for i, d := range slices.Backward(p.list) {
		if bytes += d.Info.Bytes; bytes > maxPartial && i < len(p.list)-1 {
			p.list = slices.Delete(p.list, 0, i+1)
			return
		}
	}
}

// take gives a download back, if it is there.
func (p *partials) take(stream string, digest segment.Digest) *m4fclient.Download {
	i := slices.IndexFunc(p.list, func(d *m4fclient.Download) bool { return d.Stream == stream && d.Digest == digest })
	if i < 0 {
		return nil
	}
	d := p.list[i]
	p.list = slices.Delete(p.list, i, i+1)
	return d
}
