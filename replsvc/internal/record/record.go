// Package record has what both producers of this service (live and transfer) send to dvrsvc: a whole segment as the
// messages of RecordingService.Record.
package record

import (
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
)

// pieceBytes bounds one message of media.
const pieceBytes = 1 << 20

// Fields of RecordRequest and of Chunk.
const chunkField, dataField = 4, 15

// Shared is a message for SendMsg: of a chunk the bytes, which nobody may change any more, are sent as they are.
func Shared(m *dvrv1.RecordRequest) any {
	if m.GetChunk() == nil {
		return m
	}
	return grpcx.Shared(m, chunkField, dataField)
}

// Messages is a whole segment. key is in dvrsvc's numbering.
func Messages(key segment.Key, d *m4fclient.Download) []*dvrv1.RecordRequest {
	info, path := d.Info, d.Info.Path
	ms := []*dvrv1.RecordRequest{{Message: &dvrv1.RecordRequest_Begin{Begin: &dvrv1.Begin{
		Key: segmentpb.Key(key), Inits: segmentpb.Inits(d.Inits), Path: path, Tracks: segmentpb.Tracks(info.Tracks),
		StartUncertain: info.Evidence.StartUncertain, Independent: info.Independent,
	}}}}
	for _, c := range info.Chunks {
		data := d.Data[c.Offset : c.Offset+uint64(c.Size)]
		for at := 0; at < len(data); at += pieceBytes {
			ms = append(ms, &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Chunk{Chunk: &dvrv1.Chunk{
				Seq: key.Seq, Pid: uint32(c.PID), ChunkCell: c.Cell, TfdtOffset: c.TfdtOffset, Crc32C: c.CRC, Size: c.Size,
				Offset: uint32(at), Path: path, Data: data[at:min(at+pieceBytes, len(data))],
			}}})
		}
	}
	return append(ms, &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Seal{
		Seal: &dvrv1.Seal{Seq: key.Seq, Info: segmentpb.Info(info), Packets: segment.EncodeRuns(info.Runs)},
	}})
}
