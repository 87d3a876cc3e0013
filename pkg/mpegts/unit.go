package mpegts

// PESPayload gives what is behind the header of a PES packet (H.222.0, 2.4.3.6), as units of data are delivered; nil: it has
// none, or is no such packet.
func PESPayload(b []byte) []byte {
	if len(b) < pesFixedHeader || b[0] != 0 || b[1] != 0 || b[2] != 1 || !hasPESHeader(b[3]) || len(b) <= pesFixedHeader+int(b[8]) {
		return nil
	}
	return b[pesFixedHeader+int(b[8]):]
}
