package teletext_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/teletext"
)

// samplesDir is where recorded streams lie beside the repository, if they do.
func samplesDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../../shared/samples")
	if err == nil {
		_, err = os.Stat(dir)
	}
	if err != nil {
		t.Skip("no recorded samples beside the repository")
	}
	return dir
}

// pages records the pages of subtitles of a stream.
type pages struct {
	decoders map[string]*teletext.Decoder
	pids     map[string]uint16
	names    []string
}

func (p *pages) Program(m mpegts.Program) {
	for _, s := range m.Streams {
		if s.Codec != mpegts.CodecTeletext {
			continue
		}
		for _, page := range teletext.Pages([]byte(s.Descriptors)) {
			name := fmt.Sprintf("%d/%v hearing %t", s.PID, page, page.Hearing)
			if p.decoders[name] == nil {
				p.decoders[name], p.pids[name] = teletext.NewDecoder(page.Number), s.PID
				p.names = append(p.names, name)
			}
		}
	}
}

func (p *pages) AccessUnit(u *mpegts.AccessUnit) {
	for name, d := range p.decoders {
		if p.pids[name] == u.PID {
			d.Take(mpegts.PESPayload(u.Data), u.PTS)
		}
	}
}

func TestSamples(t *testing.T) {
	for path, want := range map[string]string{
		"tsduck+tsduck-test/input/test-012.ts": `1068/888 fra hearing true
3856788233 []
1068/889 fra hearing false
3856806233 []
3856831433 ["Un train met dix secondes" "pour dépasser un point donné."]
3857281433 []
3857295833 ["Comme la dame a vu le crime" "par les derniers wagons,"]
3857562233 []
3857580233 ["on peut supposer que le corps est" "tombé pendant le passage du train."]
3858023033 []
3858044633 ["Donc, le train hurlait" "à la fenêtre du vieil homme"]
3858408233 []
3858419033 ["dix bonnes secondes" "avant que le corps ne tombe."]
3858710633 []
3858721433 ["Le vieillard qui a entendu tomber" "le corps une seconde après le cri,"]
3859167833 []
3859189433 ["aurait donc entendu le garçon" "alors que le train passait !"]
3859524233 []
3859553033 ["Il ne peut pas l'avoir entendu !" "- Mais si."]
3859797833 []
3859808633 ["- Vous croyez ?" "- Il hurlait à pleins poumons."]`,
	} {
		ts, err := os.ReadFile(filepath.Join(samplesDir(t), path))
		if err != nil {
			t.Skip(err)
		}
		p := &pages{decoders: map[string]*teletext.Decoder{}, pids: map[string]uint16{}}
		d := mpegts.NewDemuxer(p, mpegts.Options{})
		d.Write(ts)
		d.Flush()
		var got []string
		for _, name := range p.names {
			got = append(got, name)
			for _, s := range p.decoders[name].Shown() {
				got = append(got, fmt.Sprintf("%d %q", s.At, s.Lines))
			}
		}
		if s := strings.Join(got, "\n"); s != want {
			t.Errorf("%s:\n%s\nwant\n%s", path, s, want)
		}
	}
}

// A recorded stream of teletext without a program map, German and Danish: umlauts are of the page's set, æ of packets X/26.
func TestSampleOfTwoLanguages(t *testing.T) {
	ts, err := os.ReadFile(filepath.Join(samplesDir(t), "SubtitleEdit+subtitleedit/tests/libse/Files/sample_TS_with_teletext.ts"))
	if err != nil {
		t.Skip(err)
	}
	for page, want := range map[int]string{
		150: `["" "Für diese Klassenstufe ist er nicht geeignet. Stufen Sie ihn zurück!" ""]`,
		799: `["" "Han er ikke egnet til dette klassetrin." "" "Så sæt ham et år ned, så han kan indhente det forsømte."]`,
	} {
		d := teletext.NewDecoder(page)
		var pes []byte
		for i := 0; i+mpegts.PacketSize <= len(ts); i += mpegts.PacketSize {
			p := ts[i : i+mpegts.PacketSize]
			if p[1]&0x40 != 0 {
				d.Take(mpegts.PESPayload(pes), int64(i))
				pes = pes[:0]
			}
			payload := 4
			if p[3]&0x20 != 0 {
				payload += 1 + int(p[4])
			}
			pes = append(pes, p[min(payload, len(p)):]...)
		}
		var got []string
		for _, s := range d.Shown() {
			got = append(got, strings.Join(s.Lines, " "))
		}
		if s := fmt.Sprintf("%q", got); s != want {
			t.Errorf("page %d: %s, want %s", page, s, want)
		}
	}
}
