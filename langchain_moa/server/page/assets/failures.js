// Why a model failed, in words. The server tells the type of an error only, since its text may quote anything.

// Providers' SDKs and LangChain prefix and suffix these names: OpenAIRateLimitError, RateLimitError, ...
const SENTENCES = [
  [/FirstTokenTimeout/, "It did not begin to answer in time."],
  [/Timeout|Deadline/, "It timed out."],
  [/Authentication|Unauthorized/, "The provider refused the server's key."],
  [/PermissionDenied|Forbidden/, "The provider does not allow the server to use this model."],
  [/RateLimit|TooManyRequests|ResourceExhausted/, "The provider limited the rate of requests."],
  [/ContextOverflow/, "The conversation is too long for this model."],
  [/NotFound/, "The provider does not know this model."],
  [/Refusal|ContentFilter/, "The model refused to answer."],
  [/InvalidRequest|BadRequest|UnprocessableEntity/, "The provider refused the request."],
  [/EmptyAnswer/, "It answered without any text."],
  [/LocalModel/, "The server's local model does not run."],
  [/Connect|Network|Protocol|ReadError|WriteError/, "The connection to the provider failed."],
  [/InternalServer|ServiceUnavailable|API|Status/, "The provider had an error."],
];

const OTHERWISE = "It failed. The server's log says more.";

/** A sentence for the type of an error; nothing without an error. */
export function sentence(type) {
  if (!type) return "";
  return SENTENCES.find(([pattern]) => pattern.test(type))?.[1] ?? OTHERWISE;
}
