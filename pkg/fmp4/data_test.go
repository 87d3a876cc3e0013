package fmp4_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/twinreel/twinreel/pkg/fmp4"
)

// TestDataInit: what an init segment of data was made of can be read out of it, and no more than that goes in.
func TestDataInit(t *testing.T) {
	for _, descriptors := range [][]byte{nil, {0x56, 0}, bytes.Repeat([]byte("uriI"), 250)} {
		data, err := fmp4.DataInit(300, "deu", 0x15, descriptors)
		if err != nil {
			t.Fatal(err)
		}
		kind, got, err := fmp4.ParseDataInit(data)
		if err != nil || kind != 0x15 || !bytes.Equal(got, descriptors) {
			t.Errorf("%d bytes of descriptors: got %#x, %d, %v", len(descriptors), kind, len(got), err)
		}
		other, err := fmp4.DataInit(300, "fra", 0x15, descriptors)
		if err != nil || bytes.Equal(other, data) {
			t.Errorf("another language is no other init segment, %v", err)
		}
	}
	if _, err := fmp4.DataInit(300, "", 0x15, make([]byte, 0x400)); err == nil {
		t.Error("descriptors that no map can have are accepted")
	}
	aac, _, err := fmp4.AACInit(aacPID, "", fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 3, Channels: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := fmp4.ParseDataInit(aac); !errors.Is(err, fmp4.ErrMalformed) {
		t.Errorf("AAC taken for data: %v", err)
	}
}

// FuzzParseDataInit holds I4.
func FuzzParseDataInit(f *testing.F) {
	for _, c := range initCases(f) {
		f.Add(c.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, d, err := fmp4.ParseDataInit(data); err == nil && len(d) > len(data) || err != nil && !errors.Is(err, fmp4.ErrMalformed) {
			t.Fatalf("%d bytes, %v", len(d), err)
		}
	})
}
