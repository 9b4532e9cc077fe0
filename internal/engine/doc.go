// Package engine is the bridge between the service and the pictures: it takes
// jobs from the queue, draws them step by step, reports every step and keeps
// the result. It can stop anywhere: a job goes on from its newest checkpoint,
// here or elsewhere, and its picture is the same to the last bit.
//
// An Engine (engine.go) draws on one adapter; those of a process share a queue
// and a Node (node.go), their record in the fleet. Its loop goes round:
//
//   - look: pictures stored, cancels, pauses, ends that are due (engine.go);
//   - invite: the first in line joins the jobs under way, takes the place of
//     lower ones, or waits (join.go);
//   - round: one step of each picture whose turn it is, all in one call of the
//     pipeline; those that are done are decoded (round.go) and stored (keep.go).
//
// A job under way is a run, with a canvas for each of its pictures (run.go).
// The loop never touches the device: one goroutine, the owner, makes all calls
// on it (call.go) and has the models on its desk, within a memory budget
// (shelf.go). The loop waits for each answer with a limit (timings.go). A call
// that hangs or panics, or a device that is lost, is abandoned with its owner;
// the device is opened anew (device.go), and every picture goes on from the
// checkpoint that its canvas has kept since its last step. The third failure
// that was a job's own ends it; where several shared the step, each must pass
// one alone first. Shutdown is the same: what runs is abandoned, checkpoints
// are saved (checkpoint.go), jobs go back into the line.
package engine
