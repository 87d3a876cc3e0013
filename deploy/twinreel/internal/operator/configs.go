package operator

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/streamconfpb"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

// revisionLine is how a text that ShowConfig printed tells PutConfig what its author has seen.
var revisionLine = regexp.MustCompile(`(?m)^# revision ([0-9a-f]+)\s*$`)

// Change is a change of the config.
type Change struct {
	Revision string // the config that the author has seen; of a text that ShowConfig printed it is known
	Author   string
	Comment  string
	Check    bool // only say whether it could be done
}

// ShowConfig prints the config in force, or one stream of it, with its revision in a comment.
func (s *Site) ShowConfig(ctx context.Context, stream string) error {
	p, err := s.find(ctx, config)
	if err != nil {
		return err
	}
	m, err := gatewayv1.NewConfigServiceClient(p.conn).List(ctx, &gatewayv1.ListRequest{})
	if err != nil {
		return p.asked("list config", err)
	}
	if stream != "" {
		m.Config.Streams = slices.DeleteFunc(m.Config.Streams, func(st *gatewayv1.Stream) bool { return st.GetName() != stream })
		if len(m.GetConfig().GetStreams()) == 0 {
			return fmt.Errorf("show config of stream %q: %w", stream, errs.ErrStreamUnknown)
		}
	}
	if s.json {
		return s.printJSON(raw(m))
	}
	m.Config.ClusterKey = "" // masked, and no part of a stream
	if stream != "" {        // as if it were the config's own
		m.Config.Sources = nil
		if st := m.GetConfig().GetStreams()[0]; st.GetSource() != "" {
			s.printf("# of source %s\n", st.GetSource())
			st.Source, st.Via = "", nil
		}
	}
	conf, err := streamconfpb.FromProto(m.GetConfig())
	if err != nil {
		return fmt.Errorf("show config: %w", err)
	}
	s.printf("# revision %s\n", m.GetConfig().GetRevision())
	for _, p := range m.GetProblems() {
		s.printf("# the file has a newer text, which is refused: line %d, column %d: %s\n", p.GetLine(), p.GetColumn(), p.GetMessage())
	}
	if stream != "" {
		conf = &streamconf.Config{Streams: conf.Streams}
	} else if names := m.GetEdited(); len(names) > 0 {
		s.printf("# changed by API, not as in the file: %s\n", strings.Join(names, ", "))
	}
	s.printf("%s", conf)
	return nil
}

// PutConfig adds or changes the stream of which text is the block.
func (s *Site) PutConfig(ctx context.Context, text string, c Change) error {
	p, err := s.find(ctx, config)
	if err != nil {
		return err
	}
	if m := revisionLine.FindStringSubmatch(text); m != nil && c.Revision == "" {
		c.Revision = m[1]
	}
	m, err := gatewayv1.NewConfigServiceClient(p.conn).Put(ctx, &gatewayv1.PutRequest{
		Text: text, Revision: c.Revision, Author: c.Author, Comment: c.Comment, CheckOnly: c.Check,
	})
	if err != nil {
		return p.asked("put stream", err)
	}
	done := "is in force"
	if c.Check {
		done = "could be put in force"
	}
	return s.changed(fmt.Sprintf("stream %s %s", m.GetStream().GetName(), done), m.GetRevision())
}

// DeleteConfig takes a stream out of the config.
func (s *Site) DeleteConfig(ctx context.Context, stream string, c Change) error {
	p, err := s.find(ctx, config)
	if err != nil {
		return err
	}
	m, err := gatewayv1.NewConfigServiceClient(p.conn).Delete(ctx, &gatewayv1.DeleteRequest{
		Stream: stream, Revision: c.Revision, Author: c.Author, Comment: c.Comment,
	})
	if err != nil {
		return p.asked("delete stream", err)
	}
	return s.changed(fmt.Sprintf("stream %s is out of the config; its archive stays until its retention has passed", stream), m.GetRevision())
}

func (s *Site) changed(what, revision string) error {
	if s.json {
		return s.printJSON(map[string]string{"done": what, "revision": revision})
	}
	s.printf("%s\nrevision %s\n", what, revision)
	return nil
}

// ConfigHistory prints the newest changes of the config, the newest first.
func (s *Site) ConfigHistory(ctx context.Context, limit uint32) error {
	p, err := s.find(ctx, config)
	if err != nil {
		return err
	}
	m, err := gatewayv1.NewConfigServiceClient(p.conn).ListChanges(ctx, &gatewayv1.ListChangesRequest{Limit: limit})
	if err != nil {
		return p.asked("list changes", err)
	}
	if s.json {
		return s.printJSON(raw(m))
	}
	for _, c := range m.GetChanges() {
		s.printf("%d  %s  revision %s  by %s", c.GetNumber(), clock(c.GetTime()), c.GetRevision(), c.GetOrigin())
		if a := c.GetAuthor(); a != "" {
			s.printf(", %s", a)
		}
		for _, x := range []struct {
			what  string
			names []string
		}{{"added", c.GetAdded()}, {"changed", c.GetChanged()}, {"removed", c.GetRemoved()}, {"overruled", c.GetOverruled()}} {
			if len(x.names) > 0 {
				s.printf("; %s %s", x.what, strings.Join(x.names, ", "))
			}
		}
		if t := c.GetComment(); t != "" {
			s.printf(": %s", t)
		}
		s.printf("\n")
	}
	return nil
}
