"""The trace viewer: a read-only JSON API on a store, the page that shows it, and the one-file export.

Routes (all `GET`, all below `/api`; `RUN` is a run's id, `C` a condition's, `N` a replicate, `K` an episode's
ordinal; the types are in `models`, `episode_models` and `finding_models`):

| route | answers |
|---|---|
| `store` | `StorePage` |
| `runs/RUN` | `RunPage` |
| `runs/RUN/report` | `ReportPage`; takes seconds where the report was not kept |
| `runs/RUN/learning` | `LearningPage` |
| `runs/RUN/calibration` | `CalibrationPage` |
| `runs/RUN/problems` | `ProblemsPage` |
| `runs/RUN/live` | `LivePage` |
| `runs/RUN/lessons?condition&after&limit` | `LessonList` |
| `runs/RUN/lessons/C/N` | `LessonPage` |
| `runs/RUN/lessons/C/N/episodes?phase&after&limit` | `EpisodeList` of one lesson |
| `runs/RUN/lessons/C/N/episodes/K` | `EpisodePage` |
| `runs/RUN/lessons/C/N/episodes/K/calls` | `CallsPage` |
| `runs/RUN/lessons/C/N/graphs` | `GraphsPage` |
| `runs/RUN/episodes?where&condition&phase&outcome&after&limit` | `EpisodeList` of a run, filtered |
| `runs/RUN/compare/conditions?first&second` | `ConditionsCompared` |
| `runs/RUN/compare/episodes?first&second` | `EpisodesCompared`; a side is `C/N/K` |
| `search?q&run&after&limit` | `SearchPage` |
| `filters` | `FilterPage` |
| `openapi.json` | this, for programs |

Every other answer than 200 is a `Fault`. An export holds the same documents under the same paths.
"""
