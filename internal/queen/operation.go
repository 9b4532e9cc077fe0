package queen

import (
	"encoding/json"
	"slices"

	"waggle/internal/job"
)

// operation is what the queen needs to know of one; everything else goes to
// the worker as it came.
type operation struct {
	name string
	id   string // what the client calls its job; empty for none
	wanted
}

// image reports whether the operation asks for a picture.
func (o operation) image() bool {
	return o.name == string(job.Generation) || o.name == string(job.Transform) || o.name == string(job.Inpaint)
}

// members lists the operations the protocol gives to a queen, with the members
// that they cannot do without.
var members = map[string][]string{
	"status":             nil,
	"queen_check":        nil,
	"infer":              {"hive_id", "model", "prompt"},
	"image_generation":   {"hive_id", "model", "prompt"},
	"image_transform":    {"hive_id", "model", "prompt"},
	"image_inpaint":      {"hive_id", "model", "prompt"},
	"rhai_script_save":   {"name", "content"},
	"rhai_script_test":   {"content"},
	"rhai_script_get":    {"id"},
	"rhai_script_list":   nil,
	"rhai_script_delete": {"id"},
}

// forHives are operations that clients take to a hive.
var forHives = []string{
	"worker_catalog_list", "worker_catalog_get", "worker_installed_get", "worker_install", "worker_remove", "worker_list_installed",
	"worker_spawn", "worker_process_list", "worker_process_get", "worker_process_delete",
	"model_download", "model_list", "model_get", "model_delete", "model_load", "model_unload", "hive_check",
}

// parseOperation reads an operation. The worker judges values; the queen only
// what she routes by.
func parseOperation(body []byte) (operation, error) {
	all, err := job.Members(body)
	if err != nil {
		return operation{}, err
	}
	var op operation
	if err := requiredText(all, "operation", &op.name); err != nil {
		return operation{}, err
	}
	required, ours := members[op.name]
	if !ours && !slices.Contains(forHives, op.name) {
		return operation{}, job.Errorf(job.InvalidInput, "Failed to parse operation: unknown operation %q", plain(op.name, 60))
	}
	for _, member := range required {
		var value string
		if err := requiredText(all, member, &value); err != nil {
			return operation{}, err
		}
	}
	if op.image() { // of others it is part of what they ask
		op.id = optional(all, "id")
	}
	op.wanted.model, op.wanted.hiveID = optional(all, "model"), optional(all, "hive_id")
	if raw := all["worker_id"]; raw != nil && string(raw) != "null" {
		if err := requiredText(all, "worker_id", &op.wanted.workerID); err != nil {
			return operation{}, err
		}
	}
	return op, nil
}

// requiredText reads a member that must be a string.
func requiredText(all map[string]json.RawMessage, member string, into *string) error {
	raw := all[member]
	if raw == nil || string(raw) == "null" {
		return job.Errorf(job.InvalidInput, "Failed to parse operation: missing field `%s`", member)
	}
	if json.Unmarshal(raw, into) != nil {
		return job.Errorf(job.InvalidInput, "Failed to parse operation: field `%s`: expected a string", member)
	}
	return nil
}

// optional reads a member that has been checked, or does not matter.
func optional(all map[string]json.RawMessage, member string) (value string) {
	_ = json.Unmarshal(all[member], &value)
	return value
}
