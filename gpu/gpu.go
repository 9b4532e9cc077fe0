// Package gpu is everything Waggle knows about wgpu: [Device], [Buffer], [Image], [Kernel] and [Program].
//
// A Device is opened on one adapter with the adapter's real limits. Buffers are linear memory. Images are linear memory
// too, seen through storage textures: [ImageWidth] texels of 16 bytes a line. Software adapters read images several
// times faster than buffers; real GPUs have no use for them. A Kernel is a compiled compute shader with its binding
// shape, read off its text. A Program is a list of dispatches and copies, recorded once and run many times.
//
// Every object is closed by who made it; closing a Device closes nothing else but makes all further calls fail. All
// methods are safe for concurrent use: one lock a device guards every call into wgpu, whose error reporting is not.
// What wgpu would answer with the end of the process (a range outside a buffer, a destroyed object, too many workgroups)
// is checked here first and comes back as an error.
package gpu

import "errors"

var (
	// ErrNoAdapter says that no usable GPU or software Vulkan driver was found.
	ErrNoAdapter = errors.New("no GPU adapter found: install a Vulkan driver (a software one is enough: libvulkan1 and mesa-vulkan-drivers on Debian)")
	// ErrDeviceLost says that the driver gave up on the device: everything on it is gone.
	ErrDeviceLost = errors.New("the GPU device was lost")
	// ErrOutOfMemory says that an allocation does not fit the device.
	ErrOutOfMemory = errors.New("out of GPU memory")
)

// Kind of an adapter.
type Kind string

const (
	Discrete   Kind = "discrete"
	Integrated Kind = "integrated"
	Virtual    Kind = "virtual"
	Software   Kind = "software"
)

// Limits of an adapter, all asked for when it is opened. Sizes in bytes.
type Limits struct {
	Binding              uint64 `json:"binding"`               // largest part of a buffer that a kernel sees at once
	Buffer               uint64 `json:"buffer"`                // largest buffer
	OffsetAlignment      uint64 `json:"offset_alignment"`      // of bound parts of buffers
	ImageSide            int    `json:"image_side"`            // texels
	Workgroups           int    `json:"workgroups"`            // per dispatch and dimension
	WorkgroupInvocations int    `json:"workgroup_invocations"` // per workgroup
	WorkgroupMemory      int    `json:"workgroup_memory"`
	StorageBuffers       int    `json:"storage_buffers"` // per kernel
}

// Features that kernels ask about.
type Features struct {
	HalfFloat  bool `json:"half_float"` // shader-f16
	Subgroups  bool `json:"subgroups"`
	Timestamps bool `json:"timestamps"`
}

// Adapter is a GPU, or a driver that acts as one.
type Adapter struct {
	Index    int      `json:"index"` // for Open
	Name     string   `json:"name"`
	Driver   string   `json:"driver"`
	Backend  string   `json:"backend"`
	Kind     Kind     `json:"kind"`
	Limits   Limits   `json:"limits"`
	Features Features `json:"features"`
}

// ImageWidth is the number of texels in a line of every Image; a texel is 16 bytes.
const ImageWidth = 2048

const texelBytes = 16

// Format of an image's texels.
type Format uint8

const (
	Float4 Format = iota // four f32
	Uint4                // four u32
)

// Access says how a kernel uses a binding.
type Access uint8

const (
	ReadBuffer Access = iota
	WriteBuffer
	ReadImage
	WriteImage
	Uniform
)
