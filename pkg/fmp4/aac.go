package fmp4

import (
	"fmt"

	"github.com/twinreel/twinreel/pkg/aac"
)

// AACConfigInit returns the init segment of an AAC track by its AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1), which
// becomes part of it as it is, and its RFC 6381 codec string.
func AACConfigInit(pid uint16, language string, specific []byte) ([]byte, string, error) {
	if len(specific) > aac.MaxConfig {
		return nil, "", fmt.Errorf("build AAC init segment of PID %d: a configuration of %d bytes", pid, len(specific))
	}
	c, err := aac.ParseConfig(specific)
	if err != nil {
		return nil, "", fmt.Errorf("build AAC init segment of PID %d: %w", pid, err)
	}
	object, channels := int(c.ObjectType), c.Channels
	switch {
	case c.PS:
		object, channels = 29, 2
	case c.SBR:
		object = 5
	}
	return initSegment(track{pid: pid, language: language, sampleEntry: func(w *boxes) {
		w.mp4a(pid, channels, c.OutputRate, mpeg4Audio, specific)
	}}), fmt.Sprintf("mp4a.40.%d", object), nil
}
