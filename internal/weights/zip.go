package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// archived is a stored entry of a zip archive.
type archived struct {
	data []byte // aliases the archive
	crc  uint32
}

// Sizes of the records of a zip archive (PKWARE APPNOTE 6.3), names and extra
// fields apart.
const (
	localSize     = 30
	centralSize   = 46
	endSize       = 22
	end64Size     = 56
	locatorSize   = 20
	commentLimit  = math.MaxUint16
	archiveLimit  = 1 << 16 // entries; a checkpoint of 1,200 tensors has as many
	zip64Extra    = 1
	encryptedFlag = 1
)

var errArchive = errors.New("is a zip archive that is cut or damaged; fetch it again")

// readArchive lists the entries of a zip archive by name. Entries must be
// stored as they are: torch stores them so, and what is not compressed cannot
// grow. Every size and offset is checked against the bytes that are there.
func readArchive(data []byte) (map[string]archived, error) {
	directory, count, err := centralDirectory(data)
	if err != nil {
		return nil, err
	}
	entries := map[string]archived{}
	for range count {
		var name string
		var entry archived
		if name, entry, directory, err = nextEntry(data, directory); err != nil {
			return nil, err
		}
		if _, twice := entries[name]; twice {
			return nil, fmt.Errorf("has the entry %q twice", clipName(name))
		}
		entries[name] = entry
	}
	return entries, nil
}

// centralDirectory finds the directory by the record at the archive's end.
func centralDirectory(data []byte) (directory []byte, count uint64, err error) {
	tail := data[max(0, len(data)-endSize-commentLimit):]
	at := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if at < 0 || len(tail)-at < endSize {
		return nil, 0, errArchive
	}
	end, le := tail[at:], binary.LittleEndian
	count, size, from := uint64(le.Uint16(end[10:])), uint64(le.Uint32(end[12:])), uint64(le.Uint32(end[16:]))
	if before := len(data) - len(tail) + at - locatorSize; before >= 0 && bytes.HasPrefix(data[before:], []byte("PK\x06\x07")) {
		end64, ok := piece(data, le.Uint64(data[before+8:]), end64Size)
		if !ok || !bytes.HasPrefix(end64, []byte("PK\x06\x06")) {
			return nil, 0, errArchive
		}
		count, size, from = le.Uint64(end64[32:]), le.Uint64(end64[40:]), le.Uint64(end64[48:])
	}
	directory, ok := piece(data, from, size)
	if !ok {
		return nil, 0, errArchive
	}
	if count > archiveLimit {
		return nil, 0, fmt.Errorf("is a zip archive of %d entries, the limit is %d", count, archiveLimit)
	}
	return directory, count, nil
}

// piece is so many bytes from an offset on, if they are there.
func piece(data []byte, from, size uint64) ([]byte, bool) {
	if from > uint64(len(data)) || size > uint64(len(data))-from {
		return nil, false
	}
	return data[from : from+size : from+size], true
}

// nextEntry takes an entry off the directory and finds its data.
func nextEntry(data, directory []byte) (name string, entry archived, rest []byte, err error) {
	if len(directory) < centralSize || !bytes.HasPrefix(directory, []byte("PK\x01\x02")) {
		return "", entry, nil, errArchive
	}
	le := binary.LittleEndian
	nameSize, extraSize, commentSize := int(le.Uint16(directory[28:])), int(le.Uint16(directory[30:])), int(le.Uint16(directory[32:]))
	whole := centralSize + nameSize + extraSize + commentSize
	if len(directory) < whole {
		return "", entry, nil, errArchive
	}
	name = string(directory[centralSize : centralSize+nameSize])
	if le.Uint16(directory[10:]) != 0 || le.Uint16(directory[8:])&encryptedFlag != 0 {
		return "", entry, nil, fmt.Errorf("has the entry %q compressed or encrypted, which torch.save never does", clipName(name))
	}
	size, stored, local, ok := sizes(directory[:centralSize], directory[centralSize+nameSize:whole-commentSize])
	if !ok || size != stored {
		return "", entry, nil, errArchive
	}
	entry.crc = le.Uint32(directory[16:])
	entry.data, err = entryData(data, name, local, size)
	return name, entry, directory[whole:], err
}

// sizes reads an entry's size, its size as stored and where its local header
// is; each is in the zip64 extra field when it does not fit 32 bits.
func sizes(central, extra []byte) (size, stored, local uint64, ok bool) {
	le := binary.LittleEndian
	size, stored, local = uint64(le.Uint32(central[24:])), uint64(le.Uint32(central[20:])), uint64(le.Uint32(central[42:]))
	wide := extraField(extra, zip64Extra)
	for _, v := range []*uint64{&size, &stored, &local} {
		if *v != math.MaxUint32 {
			continue
		}
		if len(wide) < 8 {
			return 0, 0, 0, false
		}
		*v, wide = le.Uint64(wide), wide[8:]
	}
	return size, stored, local, true
}

// extraField finds a field of an extra area; nil when it is not there.
func extraField(extra []byte, id uint16) []byte {
	for len(extra) >= 4 {
		size := int(binary.LittleEndian.Uint16(extra[2:]))
		if 4+size > len(extra) {
			return nil
		}
		if binary.LittleEndian.Uint16(extra) == id {
			return extra[4 : 4+size]
		}
		extra = extra[4+size:]
	}
	return nil
}

// entryData finds an entry's bytes behind its local header, which must have
// the same name.
func entryData(data []byte, name string, local, size uint64) ([]byte, error) {
	header, ok := piece(data, local, localSize)
	if !ok || !bytes.HasPrefix(header, []byte("PK\x03\x04")) {
		return nil, errArchive
	}
	le := binary.LittleEndian
	nameSize, extraSize := uint64(le.Uint16(header[26:])), uint64(le.Uint16(header[28:]))
	if named, ok := piece(data, local+localSize, nameSize); !ok || string(named) != name {
		return nil, errArchive
	}
	found, ok := piece(data, local+localSize+nameSize+extraSize, size)
	if !ok {
		return nil, errArchive
	}
	return found, nil
}
