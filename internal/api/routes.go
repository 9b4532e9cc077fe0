package api

import (
	"net/http"

	"waggle/internal/job"
	"waggle/internal/openapi"
	"waggle/internal/queue"
)

// Groups of routes, as the document shows them.
const (
	tagJobs     = "Jobs"
	tagPictures = "Pictures"
	tagFleet    = "Models and nodes"
	tagServer   = "Server"
	tagAliases  = "Aliases"
)

// about is what the document says of the server as a whole.
const about = "Draws pictures with Stable Diffusion. A job is an operation that was posted to `/v1/jobs`; its events tell how far it is, " +
	"step by step, and in the end bring the picture. Errors are one line of plain text. " +
	"What no route takes is answered with 404 or 405 and no body."

func (s *Server) info() openapi.Info {
	return openapi.Info{
		Title: "Waggle", Version: s.Version, Description: about, Keyed: len(s.Door.Keys) > 0,
		Tags: []openapi.Tag{
			{Name: tagJobs, Description: "To submit an operation, to follow it, and to change what becomes of it."},
			{Name: tagPictures, Description: "What has been drawn."},
			{Name: tagFleet, Description: "What there is to choose from, and who computes."},
			{Name: tagServer, Description: "Whether it lives, what it is, and its pages."},
			{Name: tagAliases, Description: "Other addresses of the same, for clients that know those."},
		},
	}
}

// table is all that the server answers. The document that it has with it is
// made of it.
func (s *Server) table() openapi.Table {
	all := openapi.Table{}
	for _, part := range []openapi.Table{s.jobRoutes(), s.orderRoutes(), pictureRoutes(s), s.fleetRoutes(), s.serverRoutes()} {
		all = append(all, part...)
	}
	return all.WithDocument(s.info(), tagServer, s.Docs)
}

// streamParams are what a reader of events may say.
func streamParams() []openapi.Param {
	return []openapi.Param{
		{Name: "Last-Event-ID", In: "header", Type: uint64(0), Description: "The number of the last event that was read: those behind it are wanted. Without it, all."},
		{Name: "cancel_on_disconnect", In: "query", Type: "", Description: "`1` cancels the job when this reader goes before its end."},
	}
}

const streamText = "Server-sent events, each with its number (`id`), from 1 and without gaps. Any number of readers may follow a job, at any time " +
	"while it is kept. Behind the last event comes `data: [DONE]`, `data: [ERROR] message` or `data: [CANCELLED]`; after 15 s of silence a comment."

func (s *Server) jobRoutes() openapi.Table {
	key := openapi.Param{Name: "Idempotency-Key", In: "header", Type: "", Pattern: job.IDPattern,
		Description: "The job's id, if the body has none: the same operation again is the same job, another is refused (409)."}
	post := openapi.Route{
		Method: "POST", Path: "/v1/jobs", Handler: s.postJob, Name: "submit", Tag: tagJobs, Summary: "Submit an operation",
		Description: "Puts a job in the queue. Follow it at `sse_url`.",
		Params:      []openapi.Param{key}, Body: openapi.Operations{},
		Answers: []openapi.Answer{{Status: http.StatusOK, Description: "It is in the queue.", Body: job.Accepted{}}},
		Errors:  []int{http.StatusNotFound, http.StatusConflict},
	}
	stream := openapi.Route{
		Method: "GET", Path: "/v1/jobs/{id}/stream", Handler: s.stream, Name: "follow", Tag: tagJobs, Summary: "Follow a job's events",
		Description: streamText, Params: streamParams(),
		Answers: []openapi.Answer{{Status: http.StatusOK, Description: "Events, until the job's end.", Type: "text/event-stream", Data: job.Event{}}},
		Errors:  []int{http.StatusNotFound, http.StatusServiceUnavailable},
	}
	return openapi.Table{
		post, stream,
		post.Alias("/v1/inference", "submitInference").In(tagAliases), stream.Alias("/v1/inference/{id}/stream", "followInference").In(tagAliases),
		{
			Method: "GET", Path: "/v1/jobs", Handler: s.listJobs, Name: "listJobs", Tag: tagJobs, Summary: "List jobs",
			Description: "The newest first. The id of the last one of a page, as `before`, asks for the next page.",
			Params: []openapi.Param{
				{Name: "state", In: "query", Type: job.State(""), Description: "Only jobs in this state."},
				{Name: "before", In: "query", Type: "", Description: "Only jobs older than this one."},
				{Name: "limit", In: "query", Type: 0, Min: 1, Max: queue.ListLimit, Description: "At most so many; 50 without it."},
			},
			Answers: []openapi.Answer{{Status: http.StatusOK, Description: "A page of jobs.", Body: job.ReportList{}}},
			Errors:  []int{http.StatusBadRequest, http.StatusServiceUnavailable},
		},
		{
			Method: "GET", Path: "/v1/jobs/{id}", Handler: s.getJob, Name: "getJob", Tag: tagJobs, Summary: "Show a job",
			Answers: []openapi.Answer{{Status: http.StatusOK, Description: "All that is known of it.", Body: job.Report{}}},
			Errors:  []int{http.StatusNotFound, http.StatusServiceUnavailable},
		},
		{
			Method: "GET", Path: "/v1/ws", Handler: s.socket, Name: "openWebSocket", Tag: tagJobs, Summary: "Many jobs on one WebSocket",
			Description: "Commands and answers are text messages with one JSON object each, previews are binary. They do what the routes do.",
			Answers:     []openapi.Answer{{Status: http.StatusSwitchingProtocols, Description: "The WebSocket is open."}},
			Errors:      []int{http.StatusBadRequest, http.StatusServiceUnavailable},
		},
	}
}

// orderRoutes change what becomes of a job.
func (s *Server) orderRoutes() openapi.Table {
	order := func(verb, summary, text string, params ...openapi.Param) openapi.Route {
		return openapi.Route{
			Method: "POST", Path: "/v1/jobs/{id}/" + verb, Handler: s.changeJob(verb), Name: verb, Tag: tagJobs, Summary: summary, Description: text,
			Params:  params,
			Answers: []openapi.Answer{{Status: http.StatusOK, Description: "It is done, or will be at the job's next step.", Body: job.Changed{}}},
			Errors:  []int{http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable},
		}
	}
	return openapi.Table{
		{
			Method: "DELETE", Path: "/v1/jobs/{id}", Handler: s.deleteJob, Name: "cancel", Tag: tagJobs, Summary: "Cancel a job",
			Description: "A job that waits or is paused ends at once, a running one at its next step.",
			Answers:     []openapi.Answer{{Status: http.StatusOK, Description: "It is cancelled, or will be.", Body: job.Changed{}}},
			Errors:      []int{http.StatusNotFound, http.StatusServiceUnavailable},
		},
		order("pause", "Pause a job", "A waiting job leaves the line; a running one pauses behind its step."),
		order("resume", "Resume a paused job", "It waits at the end of its client's line, and goes on at the step that it had reached."),
		order("front", "Move a waiting job forward", "To the front of its client's line in its priority, or right before another job there.",
			openapi.Param{Name: "before", In: "query", Type: "", Description: "The job before which it shall wait."}),
	}
}

func pictureRoutes(s *Server) openapi.Table {
	thumb := openapi.Param{Name: "thumb", In: "query", Type: 0, Min: thumbMin, Max: thumbMax, Description: "Shrinks it so that neither side has more pixels."}
	get := openapi.Route{
		Method: "GET", Path: "/v1/jobs/{id}/image", Handler: s.getImage, Name: "getPicture", Tag: tagPictures, Summary: "A finished picture",
		Description: "The first of the job.", Params: []openapi.Param{thumb},
		Answers: []openapi.Answer{{Status: http.StatusOK, Description: "The picture.", Type: "image/png"}},
		Errors:  []int{http.StatusBadRequest, http.StatusNotFound, http.StatusServiceUnavailable},
	}
	one := get.Alias("/v1/jobs/{id}/image/{index}", "getPictureOf")
	one.Description = "One of several of the job."
	one.Params = []openapi.Param{{Name: "index", In: "path", Type: 0, Min: 0, Max: job.BatchLimit - 1, Description: "Its place among the job's pictures, from 0."}, thumb}
	return openapi.Table{get, one, {
		Method: "DELETE", Path: "/v1/pictures/{id}", Handler: s.deletePictures, Name: "deleteJob", Tag: tagPictures, Summary: "Forget a job and its pictures",
		Description: "A job must have ended.",
		Answers:     []openapi.Answer{{Status: http.StatusOK, Description: "Nothing is left of it.", Body: job.Changed{}}},
		Errors:      []int{http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable},
	}}
}

func (s *Server) fleetRoutes() openapi.Table {
	list := func(path, name, summary, text string, h http.HandlerFunc, body any) openapi.Route {
		return openapi.Route{
			Method: "GET", Path: path, Handler: h, Name: name, Tag: tagFleet, Summary: summary, Description: text,
			Answers: []openapi.Answer{{Status: http.StatusOK, Description: "As it is now.", Body: body}},
			Errors:  []int{http.StatusServiceUnavailable},
		}
	}
	all := openapi.Table{
		list("/v1/models", "listModels", "List models", "Those which some node has.", s.getModels, job.ModelList{}),
		list("/v1/samplers", "listSamplers", "List samplers and schedules", "Those which an operation may name here.", s.getSamplers, job.ChoiceList{}),
		list("/v1/nodes", "listNodes", "List nodes", "Who computes, with which adapters and models, and how much there is to do.", s.getNodes, job.NodeList{}),
	}
	if s.Tokenize == nil {
		return all
	}
	return append(all, openapi.Route{
		Method: "POST", Path: "/v1/tokenize", Handler: s.postTokenize, Name: "tokenize", Tag: tagFleet, Summary: "Cut a text into tokens",
		Description: "As the tokenizer of a model does.", Body: question{},
		Answers: []openapi.Answer{{Status: http.StatusOK, Description: "The tokens.", Body: Tokens{}}},
		Errors:  []int{http.StatusNotFound},
	})
}

func (s *Server) serverRoutes() openapi.Table {
	page := openapi.Route{
		Method: "GET", Path: "/{$}", Handler: s.page, Name: "page", Tag: tagServer, Summary: "The web page", Public: true,
		Params: []openapi.Param{{Name: "token", In: "query", Type: "", Description: "A token of the server, as links to it have: it is kept in a cookie."}},
		Answers: []openapi.Answer{
			{Status: http.StatusOK, Description: "The page.", Type: "text/html"},
			{Status: http.StatusSeeOther, Description: "The same address without its token.", Type: "text/html"},
		},
		Errors: []int{http.StatusUnauthorized, http.StatusTooManyRequests},
	}
	icon := page.Alias("/favicon.ico", "icon") // what browsers ask for beside a picture
	icon.Summary, icon.Params, icon.Errors = "Its icon", nil, []int{http.StatusNotFound}
	icon.Answers = []openapi.Answer{{Status: http.StatusFound, Description: "Where the icon is."}}
	file := page.Alias("/static/", "pageFile")
	file.Handler, file.Summary, file.Params = s.Page.ServeHTTP, "Its files", nil
	file.Answers = []openapi.Answer{{Status: http.StatusOK, Description: "The file.", Type: "*/*"}}
	file.Errors = []int{http.StatusNotFound}
	all := openapi.Table{
		{
			Method: "GET", Path: "/health", Handler: s.getHealth, Name: "health", Tag: tagServer, Summary: "Whether the server lives", Public: true,
			Answers: []openapi.Answer{{Status: http.StatusOK, Description: "It does.", Body: job.Health{}}},
		},
		{
			Method: "GET", Path: "/ready", Handler: s.getReady, Name: "ready", Tag: tagServer, Summary: "Whether the server can draw", Public: true,
			Answers: []openapi.Answer{
				{Status: http.StatusOK, Description: "It can.", Body: job.Readiness{}},
				{Status: http.StatusServiceUnavailable, Description: "It cannot now; `reason` says why.", Body: job.Readiness{}},
			},
		},
		{
			Method: "GET", Path: "/info", Handler: s.getInfo, Name: "info", Tag: tagServer, Summary: "What the server is",
			Answers: []openapi.Answer{{Status: http.StatusOK, Description: "Its node, without models.", Body: job.Node{}}},
			Errors:  []int{http.StatusServiceUnavailable},
		},
		page, icon, file,
	}
	if s.Metrics != nil {
		all = append(all, openapi.Metrics(s.Metrics, tagServer))
	}
	return all
}
