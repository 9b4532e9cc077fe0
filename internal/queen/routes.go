package queen

import (
	"net/http"

	"waggle/internal/job"
	"waggle/internal/openapi"
	"waggle/internal/queue"
)

// Groups of routes, as the document shows them.
const (
	tagJobs   = "Jobs"
	tagFleet  = "Hives and workers"
	tagServer = "Server"
)

// whatSheIs is what the document says of a queen as a whole.
const whatSheIs = "Gives jobs to workers. An operation that was posted to `/v1/jobs` is read when its stream is first opened, and goes to a worker then; " +
	"what the worker reports is passed on as it comes. Errors are one line of plain text. " +
	"What no route takes is answered with 404 or 405 and no body."

func (q *Queen) info() openapi.Info {
	return openapi.Info{
		Title: "Waggle queen", Version: q.Version, Description: whatSheIs, Keyed: len(q.Door.Keys) > 0,
		Tags: []openapi.Tag{
			{Name: tagJobs, Description: "To submit an operation, to follow it, to end it."},
			{Name: tagFleet, Description: "Who there is, and how they tell."},
			{Name: tagServer, Description: "Whether she lives, what she is, and her pages."},
		},
	}
}

// table is all that the queen answers.
func (q *Queen) table() openapi.Table {
	all := append(q.jobRoutes(), q.fleetRoutes()...)
	return append(all, q.serverRoutes()...).WithDocument(q.info(), tagServer, q.Docs)
}

const streamText = "Server-sent events: narrations of the queen, without a name, and between them the worker's events as they came. " +
	"Any number of readers may follow a job. In the end comes `data: [DONE]`, `data: [ERROR] message` or `data: [CANCELLED]`; after 15 s of silence a comment."

func (q *Queen) jobRoutes() openapi.Table {
	others := map[string][]string{}
	for name, texts := range members {
		others[name] = texts
	}
	for _, op := range []job.Operation{job.Generation, job.Transform, job.Inpaint} {
		delete(others, string(op))
	}
	shown := openapi.Either{Job{}, job.Report{}} // kept here, and of the cluster
	return openapi.Table{
		{
			Method: "POST", Path: "/v1/jobs", Handler: q.postJob, Name: "submit", Tag: tagJobs, Summary: "Submit an operation",
			Description: "It begins when `sse_url` is opened, and what is wrong with it is said there; what a cluster's queue takes begins at once.",
			Params: []openapi.Param{{Name: "Idempotency-Key", In: "header", Type: "", Pattern: job.IDPattern,
				Description: "The job's id, if the body has none: the same operation again is the same job, another is refused (409)."}},
			Body:    openapi.Operations{Others: others},
			Answers: []openapi.Answer{{Status: http.StatusOK, Description: "It is kept.", Body: job.Accepted{}}},
			Errors:  []int{http.StatusConflict},
		},
		{
			Method: "GET", Path: "/v1/jobs/{id}/stream", Handler: q.streamJob, Name: "follow", Tag: tagJobs, Summary: "Begin a job, and follow it",
			Description: streamText,
			Params: []openapi.Param{
				{Name: "Last-Event-ID", In: "header", Type: 0, Description: "The number of the last event that was read: those behind it are wanted. Without it, all."},
				{Name: "cancel_on_disconnect", In: "query", Type: "", Description: "`1` cancels the job when this reader goes before its end."},
			},
			Answers: []openapi.Answer{{Status: http.StatusOK, Description: "All that is said, until the job's end.", Type: "text/event-stream", Data: narration{}}},
			Errors:  []int{http.StatusNotFound, http.StatusServiceUnavailable},
		},
		{
			Method: "GET", Path: "/v1/jobs", Handler: q.listJobs, Name: "listJobs", Tag: tagJobs, Summary: "List jobs",
			Description: "The newest first. The id of the last one of a page, as `before`, asks for the next page.",
			Params: []openapi.Param{
				{Name: "state", In: "query", Type: job.State(""), Description: "Only jobs in this state."},
				{Name: "before", In: "query", Type: "", Description: "Only jobs older than this one."},
				{Name: "limit", In: "query", Type: 0, Min: 1, Max: queue.ListLimit, Description: "At most so many; 50 without it."},
			},
			Answers: []openapi.Answer{{Status: http.StatusOK, Description: "A page of jobs.", Body: openapi.List{Member: "jobs", Text: "The newest first.", Of: shown}}},
			Errors:  []int{http.StatusBadRequest, http.StatusServiceUnavailable},
		},
		{
			Method: "GET", Path: "/v1/jobs/{id}", Handler: q.getJob, Name: "getJob", Tag: tagJobs, Summary: "Show a job",
			Answers: []openapi.Answer{{Status: http.StatusOK, Description: "All that is known of it.", Body: shown}},
			Errors:  []int{http.StatusNotFound, http.StatusServiceUnavailable},
		},
		{
			Method: "DELETE", Path: "/v1/jobs/{id}", Handler: q.deleteJob, Name: "cancel", Tag: tagJobs, Summary: "Cancel a job",
			Description: "Here at once, and at its worker.",
			Answers:     []openapi.Answer{{Status: http.StatusOK, Description: "It is cancelled.", Body: job.Changed{}}},
			Errors:      []int{http.StatusNotFound, http.StatusServiceUnavailable},
		},
	}
}

func (q *Queen) fleetRoutes() openapi.Table {
	return openapi.Table{
		{
			Method: "POST", Path: "/v1/hive/ready", Handler: q.postHive, Name: "hiveReady", Tag: tagFleet, Summary: "Tell that a hive has started",
			Description: "The queen listens to its telemetry from now on.", Body: hiveReady{},
			Answers: []openapi.Answer{{Status: http.StatusOK, Description: "She listens.", Body: noted{}}},
		},
		{
			Method: "POST", Path: "/v1/worker-heartbeat", Handler: q.postHeartbeat, Name: "workerHeartbeat", Tag: tagFleet, Summary: "Tell that a worker lives",
			Description: "It is forgotten after 90 s without another.", Body: workerBeat{},
			Answers: []openapi.Answer{{Status: http.StatusOK, Description: "She knows it.", Body: noted{}}},
		},
		{
			Method: "GET", Path: "/v1/nodes", Handler: q.getNodes, Name: "listNodes", Tag: tagFleet, Summary: "List nodes and workers",
			Description: "Who does jobs: the nodes of the cluster, and the workers that she calls.",
			Answers:     []openapi.Answer{{Status: http.StatusOK, Description: "As it is now.", Body: job.NodeList{}}},
		},
		{
			Method: "GET", Path: "/v1/models", Handler: q.getModels, Name: "listModels", Tag: tagFleet, Summary: "List models",
			Description: "Those that operations can be routed by. Of a worker's model no more is known than its name.",
			Answers:     []openapi.Answer{{Status: http.StatusOK, Description: "As it is now.", Body: job.ModelList{}}},
		},
		{
			Method: "GET", Path: "/v1/heartbeats/stream", Handler: q.streamHeartbeats, Name: "followFleet", Tag: tagFleet, Summary: "Follow hives and workers",
			Description: "Events called `heartbeat`: `hive_telemetry` as it comes from hives, and who there is every 2.5 s.",
			Answers:     []openapi.Answer{{Status: http.StatusOK, Description: "Events, without end.", Type: "text/event-stream", Data: queenBeat{}}},
			Errors:      []int{http.StatusServiceUnavailable},
		},
	}
}

func (q *Queen) serverRoutes() openapi.Table {
	handler := q.Page(q.Snapshot)
	page := openapi.Route{
		Method: "GET", Path: "/{$}", Handler: handler.ServeHTTP, Name: "page", Tag: tagServer, Summary: "The web page",
		Description: "It shows who there is, so it asks for a token.",
		Answers:     []openapi.Answer{{Status: http.StatusOK, Description: "The page.", Type: "text/html"}},
	}
	all := openapi.Table{
		page,
		{
			Method: "GET", Path: "/static/", Handler: handler.ServeHTTP, Name: "pageFile", Tag: tagServer, Summary: "Its files", Public: true,
			Answers: []openapi.Answer{{Status: http.StatusOK, Description: "The file.", Type: "*/*"}},
			Errors:  []int{http.StatusNotFound},
		},
		{
			Method: "GET", Path: "/health", Handler: func(http.ResponseWriter, *http.Request) {}, Name: "health", Tag: tagServer,
			Summary: "Whether the queen lives", Public: true,
			Answers: []openapi.Answer{{Status: http.StatusOK, Description: "She does."}},
		},
		{
			Method: "GET", Path: "/v1/info", Handler: q.getInfo, Name: "info", Tag: tagServer, Summary: "What she is",
			Answers: []openapi.Answer{{Status: http.StatusOK, Description: "Her address and version.", Body: about{}}},
		},
		{
			Method: "POST", Path: "/v1/shutdown", Handler: q.postShutdown, Name: "shutdown", Tag: tagServer, Summary: "End her",
			Description: "Half a second after the answer. Jobs that workers have begun go on there.",
			Answers:     []openapi.Answer{{Status: http.StatusOK, Description: "She will end."}},
		},
	}
	if q.Metrics != nil {
		all = append(all, openapi.Metrics(q.Metrics, tagServer))
	}
	return all
}
