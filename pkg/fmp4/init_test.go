package fmp4_test

import (
	"bytes"
	"testing"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/twinreel/twinreel/pkg/fmp4"
)

func TestAACInit(t *testing.T) {
	for _, c := range []struct {
		config   fmp4.AACConfig
		codec    string // "": does not exist
		channels uint16
		rate     uint16 // of the sample entry; 0: does not fit
	}{
		{fmp4.AACConfig{ObjectType: 1, FrequencyIndex: 4, Channels: 1}, "mp4a.40.1", 1, 44100},
		{fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 3, Channels: 2}, "mp4a.40.2", 2, 48000},
		{fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 3, Channels: 6}, "mp4a.40.2", 6, 48000},
		{fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 3, Channels: 7}, "mp4a.40.2", 8, 48000},
		{fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 12, Channels: 1}, "mp4a.40.2", 1, 7350},
		{fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 12, Channels: 0}, "", 0, 0},
		{fmp4.AACConfig{ObjectType: 4, FrequencyIndex: 0, Channels: 2}, "mp4a.40.4", 2, 0},
		{fmp4.AACConfig{ObjectType: 0, FrequencyIndex: 3, Channels: 2}, "", 0, 0},
		{fmp4.AACConfig{ObjectType: 5, FrequencyIndex: 3, Channels: 2}, "", 0, 0},
		{fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 13, Channels: 2}, "", 0, 0},
		{fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 3, Channels: 8}, "", 0, 0},
	} {
		data, codec, err := fmp4.AACInit(aacPID, "deu", c.config)
		checkAudioInit(t, c.config, data, codec, err, c.codec, c.channels, c.rate)
	}
}

func TestMPEGAudioInit(t *testing.T) {
	for _, c := range []struct {
		config fmp4.MPEGAudioConfig
		codec  string // "": does not exist
	}{
		{fmp4.MPEGAudioConfig{Rate: 48000, Channels: 2}, "mp4a.6B"},
		{fmp4.MPEGAudioConfig{Rate: 32000, Channels: 1}, "mp4a.6B"},
		{fmp4.MPEGAudioConfig{Rate: 24000, Channels: 1, LowRate: true}, "mp4a.69"},
		{fmp4.MPEGAudioConfig{Rate: 0, Channels: 2}, ""},
		{fmp4.MPEGAudioConfig{Rate: 96000, Channels: 2}, ""},
		{fmp4.MPEGAudioConfig{Rate: 48000, Channels: 0}, ""},
		{fmp4.MPEGAudioConfig{Rate: 48000, Channels: 3}, ""},
	} {
		data, codec, err := fmp4.MPEGAudioInit(mpegPID, "eng", c.config)
		checkAudioInit(t, c.config, data, codec, err, c.codec, uint16(c.config.Channels), uint16(c.config.Rate))
	}
}

func checkAudioInit(t *testing.T, config any, data []byte, codec string, err error, want string, channels, rate uint16) {
	t.Helper()
	if codec != want || (err == nil) != (want != "") {
		t.Errorf("%+v: got codec %q, %v, want %q", config, codec, err, want)
	}
	if err != nil {
		return
	}
	f, err := mp4.DecodeFile(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%+v: %v", config, err)
	}
	if e := f.Init.Moov.Trak.Mdia.Minf.Stbl.Stsd.Mp4a; e.ChannelCount != channels || e.SampleRate != rate {
		t.Errorf("%+v: %d channels at %d Hz, want %d at %d", config, e.ChannelCount, e.SampleRate, channels, rate)
	}
}

func TestLanguage(t *testing.T) {
	for language, want := range map[string]string{
		"deu": "deu", "qaa": "qaa", "": "und", "de": "und", "DEU": "und", "d\x00u": "und", "deut": "und", "{{{": "und",
	} {
		data, _, err := fmp4.AACInit(aacPID, language, fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 3, Channels: 2})
		if err != nil {
			t.Fatal(err)
		}
		f, err := mp4.DecodeFile(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Init.Moov.Trak.Mdia.Mdhd.GetLanguage(); got != want {
			t.Errorf("%q: got %q, want %q", language, got, want)
		}
	}
}
