package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waggle/internal/job"
)

// Worker is what a server with a queue and devices has. It is its engines' Meter.
type Worker struct {
	Process
	*Jobs
	models names

	steps, failures, resets *prometheus.CounterVec
	step, picture, load     *prometheus.HistogramVec
	batch, saved            prometheus.Observer
	previews, unsaved       prometheus.Counter
}

// NewWorker returns a worker's metrics.
func NewWorker(version string) *Worker {
	w := &Worker{Process: newProcess(version)}
	w.Jobs = newJobs(&w.Process)
	w.drawing()
	return w
}

func (w *Worker) drawing() {
	w.steps = w.countBy("waggle_steps_total", "Steps of pictures; one that four pictures share counts four.", "model")
	w.step = w.measureBy("waggle_step_seconds", "One step, of all pictures that share it.", forSteps, "model")
	w.batch = w.measure("waggle_batch_pictures", "Pictures that shared a step.", []float64{1, 2, 3, 4, 6, 8, 12, 16, 32})
	w.picture = w.measureBy("waggle_picture_seconds", "A picture, from its first step here until it is stored.", forPictures, "model")
	w.previews = w.count("waggle_previews_total", "Previews shown to whoever looks.")
	w.saved = w.measure("waggle_checkpoint_seconds", "Checkpoints of pictures, written to the store.", forWrites)
	w.unsaved = w.count("waggle_checkpoint_failures_total", "Checkpoints that could not be written.")
	w.load = w.measureBy("waggle_model_load_seconds", "Models loaded onto a device.", forPictures, "model")
	w.failures = w.countBy("waggle_device_failures_total", "Failed calls on devices for pictures under way, which are tried again from their checkpoints.",
		"reason", "hung", "panic", "lost", "memory", "other")
	w.resets = w.countBy("waggle_device_resets_total", "Devices abandoned and opened anew.", "reason", "hung", "panic", "lost")
}

// Stepped implements engine.Meter.
func (w *Worker) Stepped(model string, pictures int, took time.Duration) {
	model = w.models.of(model)
	w.steps.WithLabelValues(model).Add(float64(pictures))
	seconds(w.step.WithLabelValues(model), took)
	w.batch.Observe(float64(pictures))
}

// Drew implements engine.Meter.
func (w *Worker) Drew(model string, took time.Duration) {
	seconds(w.picture.WithLabelValues(w.models.of(model)), took)
}

// Showed implements engine.Meter.
func (w *Worker) Showed() { w.previews.Inc() }

// Saved implements engine.Meter.
func (w *Worker) Saved(took time.Duration, err error) {
	if err != nil {
		w.unsaved.Inc()
		return
	}
	seconds(w.saved, took)
}

// Loaded implements engine.Meter.
func (w *Worker) Loaded(model string, took time.Duration) {
	seconds(w.load.WithLabelValues(w.models.of(model)), took)
}

// Failed implements engine.Meter.
func (w *Worker) Failed(reason string) { w.failures.WithLabelValues(reason).Inc() }

// Abandoned implements engine.Meter.
func (w *Worker) Abandoned(reason string) { w.resets.WithLabelValues(reason).Inc() }

// Queue tells how many jobs have not ended: depth takes stock of them, to be counted by state and priority.
func (w *Worker) Queue(limit int, depth func() func(job.State, job.Priority) int) {
	w.gauge("waggle_queue_limit", "Most jobs that may wait and run.", func() float64 { return float64(limit) })
	w.asked("waggle_queue_jobs", "Jobs of the queue that have not ended; servers that share a queue all tell the same.",
		prometheus.GaugeValue, []string{"state", "priority"}, func(tell tell) {
			count := depth()
			for _, s := range []job.State{job.Queued, job.Running, job.Paused} {
				for _, p := range []job.Priority{job.High, job.Normal, job.Low} {
					tell(float64(count(s, p)), string(s), string(p))
				}
			}
		})
}

// PreviewBytes tells how many bytes of previews were sent.
func (w *Worker) PreviewBytes(ask func() int64) {
	w.asked("waggle_preview_bytes_total", "Bytes of previews sent, to all who look.", prometheus.CounterValue, nil,
		func(tell tell) { tell(float64(ask())) })
}

// Device is how one device is now.
type Device struct {
	Name   string
	Usable bool
	Models int   // that are loaded
	Bytes  int64 // taken of its memory
}

// Devices tells how the devices are, by their place in the list.
func (w *Worker) Devices(ask func() []Device) {
	each := func(value func(Device) float64) func(tell) {
		return func(tell tell) {
			for i, d := range ask() {
				tell(value(d), strconv.Itoa(i), d.Name)
			}
		}
	}
	labels := []string{"device", "name"}
	w.asked("waggle_device_up", "1 while a device is ready or busy, else 0.", prometheus.GaugeValue, labels,
		each(func(d Device) float64 { return truth(d.Usable) }))
	w.asked("waggle_device_memory_bytes", "Memory that our buffers and images take on a device, at its last step.", prometheus.GaugeValue, labels,
		each(func(d Device) float64 { return float64(d.Bytes) }))
	w.asked("waggle_models_loaded", "Models that are loaded on a device.", prometheus.GaugeValue, labels,
		each(func(d Device) float64 { return float64(d.Models) }))
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
