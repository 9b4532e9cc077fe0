package api

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"unicode/utf8"

	"waggle/internal/job"
)

// refLimitBytes bounds what a client may want to have echoed.
const refLimitBytes = 256

// command is a text message of a client.
type command struct {
	Type    string          `json:"type"`
	Ref     json.RawMessage `json:"ref"`
	Job     job.ID          `json:"job"`
	Before  job.ID          `json:"before"` // of front
	After   uint64          `json:"after"`
	Preview string          `json:"preview"`
}

// parseCommand reads a message. A command that is refused still tells its ref,
// if that could be read.
func parseCommand(message []byte) (c command, err error) {
	if !utf8.Valid(message) {
		return c, job.Errorf(job.InvalidInput, "Failed to parse the message as JSON: the text is not UTF-8")
	}
	err = json.Unmarshal(message, &c)
	if len(c.Ref) > refLimitBytes {
		return command{}, job.Errorf(job.InvalidInput, "Failed to parse the message: field `ref` has more than %d bytes", refLimitBytes)
	}
	var mistyped *json.UnmarshalTypeError
	switch {
	case errors.As(err, &mistyped) && mistyped.Field == "":
		return c, job.Errorf(job.InvalidInput, "Failed to parse the message: it must be a JSON object")
	case errors.As(err, &mistyped) && mistyped.Type.Kind() == reflect.Uint64:
		return c, job.Errorf(job.InvalidInput, "Failed to parse the message: field `%s`: expected an unsigned integer, got %s", mistyped.Field, mistyped.Value)
	case errors.As(err, &mistyped):
		return c, job.Errorf(job.InvalidInput, "Failed to parse the message: field `%s`: expected a string, got %s", mistyped.Field, mistyped.Value)
	case err != nil:
		return c, job.Errorf(job.InvalidInput, "Failed to parse the message as JSON: %w", err)
	}
	return c, nil
}

// obey carries out one command.
func (k *socket) obey(ctx context.Context, message []byte) {
	c, err := parseCommand(message)
	if err == nil {
		err = k.server.door.Admit(k.client)
	}
	if err != nil {
		k.refuse(ctx, c.Ref, err)
		return
	}
	switch answer := (reply{Type: "ok", Ref: c.Ref, Job: c.Job}); c.Type {
	case "ping":
		k.say(ctx, reply{Type: "pong", Ref: c.Ref})
	case "subscribe":
		err = k.subscribe(ctx, c, answer)
	case "unsubscribe":
		k.unsubscribe(c.Job)
		k.say(ctx, answer)
	case "submit":
		err = k.submit(ctx, message, answer)
	case "cancel":
		if err = k.server.jobs.Cancel(ctx, c.Job); err == nil {
			k.say(ctx, answer)
		}
	case "pause", "resume", "front":
		var r job.Record
		if r, err = k.server.change(ctx, c.Type, c.Job, c.Before); err == nil {
			answer.State = r.State
			k.say(ctx, answer)
		}
	default:
		err = job.Errorf(job.InvalidInput, "unknown type of message %.40q", c.Type)
	}
	if err != nil {
		k.refuse(ctx, c.Ref, err)
	}
}

func (k *socket) refuse(ctx context.Context, ref json.RawMessage, err error) {
	p := k.server.problemOf(err)
	k.say(ctx, reply{Type: "error", Ref: ref, Message: strings.TrimSpace(p.Message), Status: p.Status})
}

func (k *socket) submit(ctx context.Context, message []byte, answer reply) error {
	record, err := k.server.submit(ctx, message, "", k.client)
	if err != nil {
		return err
	}
	answer.Job, answer.State, answer.SSEURL = record.ID, record.State, job.Accept(record.ID).SSEURL
	k.say(ctx, answer)
	return nil
}
